"""What Keras's layers compute, written out on numpy arrays: a diagnosis reproduces with it what a port computes."""
