"""Alignment: which torch operations implement which Keras layer, without looking at values."""
