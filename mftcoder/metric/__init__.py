"""What is measured of a model's loss and answers: `metric=[…]`, one file a choice."""
