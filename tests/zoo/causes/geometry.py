"""Causes that the diagnosis must name in wrong ports of the zoo; see ``tests.zoo.causes``."""

CAUSES: dict[str, str] = {}
