"""Ports that are built from a Keras model's config and weights, layer by layer, as a person would write each layer.

Nothing here comes from the product: what it is judged by must not be what it is tested with.
"""
