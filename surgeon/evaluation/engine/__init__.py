"""The engine: a model and images admitted, attacked by blocks, scored again, kept on the disk."""
