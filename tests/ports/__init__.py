"""Hand-made torch ports of real Keras models, each in a different porting style."""
