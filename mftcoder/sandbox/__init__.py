"""Runs programs that nobody trusts: a process, limits and a file system of their own, and no network."""
