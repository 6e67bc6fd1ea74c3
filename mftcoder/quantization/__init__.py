"""How the frozen base is stored."""
