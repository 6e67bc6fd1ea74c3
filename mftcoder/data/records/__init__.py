"""What users have, read record by record and told apart by shape, as dialogues."""
