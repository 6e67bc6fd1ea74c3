"""What a model learned, measured on held-out samples: scores, intervals, comparisons and verdicts."""
