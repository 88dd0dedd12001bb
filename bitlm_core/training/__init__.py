"""Data, objectives and the optimizer: how a network learns."""
