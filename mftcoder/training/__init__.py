"""What happens in a training run: its settings, its steps, and what is done between them."""
