"""What the command line can be asked to do: one function each, with the settings of its root YAML."""
