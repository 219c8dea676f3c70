"""Attacks: ours and those of a library behind one door, what they need of a model, and whether they can follow its gradients."""
