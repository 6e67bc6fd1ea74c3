"""Words typed become a checked plain tree: the command line, its messages, the configuration, its schema."""
