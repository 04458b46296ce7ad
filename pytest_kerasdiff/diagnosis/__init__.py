"""Diagnosis: candidate causes of a layer at fault, tried by running its operations again with one change."""
