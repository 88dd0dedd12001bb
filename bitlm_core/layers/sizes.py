"""Sizes that decide which way a layer computes. Without torch, for those who estimate memory without it, too."""

EXPLICIT_KEYS = 2048
"""Up to so many keys, the maps of explicit attention (bf16 on CPU) are worth their memory, which grows with the square."""
