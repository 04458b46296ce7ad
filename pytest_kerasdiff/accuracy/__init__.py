"""Accuracy: both models on the user's labelled data, in float32 as they are deployed. Knows no framework."""
