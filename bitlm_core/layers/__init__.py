"""Building blocks of the networks: plain `torch.nn` modules that know nothing of bytes, training or servers."""
