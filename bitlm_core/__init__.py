"""bitlm_core: an engine that learns any data at the level of bits.

    errors, device          what can go wrong; what the machine can hold
    codec, kernels          bytes <-> bits, exactly; hot integer loops
    layers, models          building blocks; networks with one interface
    patching                bytes cut into patches where the next byte is hard to predict
    mixing                  context mixing: the network is one expert among context statistics
    telemetry, safety       K, C, S and drift; floors on what is generated
    diffusion, generation   the mathematics of masking; bytes out of a model
    scoring, training       bits per byte, and what is odd; how a network learns
    compression             data coded small, and given back exactly
    checkpoint, engine      models on disk; one model with all that belongs to it
    hub                     checkpoints pushed to a hub of models, and pulled from it
    transform               models made of models: grown, distilled, quantised
    ahead                   kernels compiled before they are needed

The public names are listed in `__init__.pyi`. Importing this package imports neither torch nor numba: a name is fetched
from its room when it is first used (PEP 562).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
