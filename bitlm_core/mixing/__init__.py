"""Bit-level context mixing: a learned, online predictor in which the network can be one expert."""
