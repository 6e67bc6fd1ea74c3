"""What every other package may import: batches, losses, errors."""
