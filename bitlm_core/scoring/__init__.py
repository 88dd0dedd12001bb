"""How many bits data costs under a model, and where it costs more than it should."""
