"""Estimates with intervals, tests of differences, and verdicts in words."""
