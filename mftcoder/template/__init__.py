"""How a dialogue becomes text, tokens and a supervised mask."""
