"""Lossless compression: what predicts well codes small. Containers that decode to exactly what went in, or not at all."""
