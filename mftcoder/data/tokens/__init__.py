"""Dialogues as token ids with a loss mask."""
