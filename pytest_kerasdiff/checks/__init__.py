"""Checks of what activations cannot show: one small pure function a module, one registry."""
