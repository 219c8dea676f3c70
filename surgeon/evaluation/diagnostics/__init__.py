"""Diagnostics: whether an evaluation's numbers can be believed."""
