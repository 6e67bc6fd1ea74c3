"""What is minimised on one micro-batch."""
