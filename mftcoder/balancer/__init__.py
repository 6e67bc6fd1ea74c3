"""How the tasks are weighed against each other."""
