"""Limits that several parts of a recipe have."""

LARGEST = 1e6
"""The largest rate, decay or weight of a training: float32 overflows in products with larger ones."""
