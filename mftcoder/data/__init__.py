"""From records on disk to packed batches: one idea a file."""
