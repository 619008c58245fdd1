"""What a model is: its identity, its card, what it can do."""
