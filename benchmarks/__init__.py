"""Measures the product against bare scripts: ``python -m benchmarks``."""
