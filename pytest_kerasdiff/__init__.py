"""Prove a hand-written PyTorch port of a Keras model equal, layer by layer.

Importing this package imports nothing else: neither numpy nor a framework.
"""

__version__ = "0.1.0"
