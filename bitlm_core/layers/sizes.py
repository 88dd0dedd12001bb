"""Sizes that decide which way a layer computes, and those of tables. Without torch, as those are who estimate memory."""

EXPLICIT_KEYS = 2048
"""Up to so many keys, the maps of explicit attention (bf16 on CPU) are worth their memory, which grows with the square."""


def rows_of(group: tuple[int, ...], pair_rows: int) -> int:
    """Rows of the table for a group of places, where one for two places has `pair_rows`: each place more doubles them, for the
    longer a group, the more different ones there are."""
    return pair_rows << (len(group) - 2)
