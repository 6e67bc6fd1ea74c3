"""Tokens on disk: tables by task, cached by content, split and audited."""
