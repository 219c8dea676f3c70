"""Image counts of the suites, and numbers of draws for random models. No torch here."""

EOT, DRAWS = 20, 40
"""For a random model: gradients that an attack averages, and predictions that an image is scored by."""
SAMPLES = {"quick": 512, "standard": 1000, "paper": 1000, "plus": 1000, "rand": 1000, "lean": 1000}
FULL = ("standard", "paper", "plus", "rand", "lean")
"""Suites that use more images where there are many classes."""
MANY_CLASSES, MANY_SAMPLES = 1000, 5000
SEEDS = 3
"""Number of seeds of the suite `paper`, for attacks that draw."""
ERROR = 1e-3
"""The largest probability that chance alone fails a check."""
