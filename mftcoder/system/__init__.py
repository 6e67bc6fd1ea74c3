"""What the operating system is asked for: whole files, locks, signals, streams, and what people see on a terminal."""
