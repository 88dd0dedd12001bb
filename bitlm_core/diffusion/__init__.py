"""The mathematics of masked diffusion, shared by training and sampling."""
