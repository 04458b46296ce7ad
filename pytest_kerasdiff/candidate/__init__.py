"""The candidate process: the only code that imports torch."""
