"""Five tasks cut from Python sources."""
