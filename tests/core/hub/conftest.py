"""Fixtures of all tests of the hub."""

from hub_places import place, remote

__all__ = ["place", "remote"]
