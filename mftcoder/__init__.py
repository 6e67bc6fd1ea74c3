"""mftcoder: exact, restartable multi-task fine-tuning of code models."""

__version__ = "0.1.0"
