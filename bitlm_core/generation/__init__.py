"""Bytes out of a model: causal, over long inputs, and by masked diffusion."""
