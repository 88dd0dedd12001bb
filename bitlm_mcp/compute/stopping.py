"""How a command ends that does not end by itself, as it is raised in the middle of one."""

from __future__ import annotations


class Stopped(BaseException):
    """Thrown into a command that is to end at this safe point. No `except Exception` can swallow it."""


class ModelLostError(Exception):
    """What there was of a model in memory is no longer: a fault, its cause, has left it as nobody can vouch for, or it was in
    processes that have ended. The model stands at its last saved state.
    """
