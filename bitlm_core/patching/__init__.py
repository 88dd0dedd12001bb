"""Bytes → patches: where a sequence of symbols is cut, by rules that read nothing but what stands before the cut."""
