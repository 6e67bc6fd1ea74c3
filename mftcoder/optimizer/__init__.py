"""How parameters are grouped for the optimizer."""
