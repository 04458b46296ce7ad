"""The zoo: for every kind of layer a Keras model, its correct port, and ports that are wrong in a known place."""
