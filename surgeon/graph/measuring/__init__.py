"""Shapes, operations and channels of a network that runs on tensors without numbers."""
