"""Pages about runs and sweeps that need nothing but a browser."""
