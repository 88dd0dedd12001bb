"""Standard input and output as wires of a protocol, kept apart from whatever prints."""

from __future__ import annotations

import os
import sys


def claim_standard_streams() -> tuple[int, int]:
    """New descriptors of stdin and stdout. From here on, prints go to stderr and reads find the end.

    Call it before anything that might print. It works on descriptors, so C libraries and children are covered.
    """
    sys.stdout.flush()
    stdin, stdout = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return stdin, stdout
