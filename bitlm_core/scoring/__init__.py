"""How many bits data costs under a model."""
