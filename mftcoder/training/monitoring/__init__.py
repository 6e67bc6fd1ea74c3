"""What is watched while a run trains: validation, metrics, answers, anomalies, and what people are told."""
