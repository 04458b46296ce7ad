"""The reference process: the only code that imports Keras."""
