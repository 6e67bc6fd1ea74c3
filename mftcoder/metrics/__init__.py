"""Measures on generated text."""
