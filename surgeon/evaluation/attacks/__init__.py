"""Attacks: this package's and those of torchattacks, their requirements, and checks of gradients."""
