"""What a sequence, a model and a run look like in numbers.

    metrics.py      K (negentropy), C (LZ76 complexity), S (symbiosis), transition rate, the composite score
    snapshot.py     all of these, of a model in one training step or on one window
    drift.py        which of them moved between two windows of a run
    config.py       how often what is measured, what counts as drift, and how the score is weighed
    synthesizer.py  sequences grouped by how a model computes on them, and a representative of each group
    plot.py         a run's telemetry as a picture

Nothing here judges: floors and verdicts belong to `bitlm_core.safety`. Importing the package loads no room of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
