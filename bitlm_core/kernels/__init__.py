"""Compiled kernels: integer loops over bytes and bits, each with a plain twin that the tests compare."""
