"""The networks: bytes in, for every position the probability of the next bits out, exactly normalised and causal."""
