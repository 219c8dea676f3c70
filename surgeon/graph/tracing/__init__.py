"""Tracing a network with torch.fx, without changing it."""
