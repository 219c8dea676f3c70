"""How many images a suite takes, and how often a random model is drawn. No torch here."""

EOT, DRAWS = 20, 40
"""Gradients whose mean an attack on a random model follows, and draws by which an image of it is scored."""
SAMPLES = {"quick": 512, "standard": 1000, "paper": 1000}
MANY_CLASSES, MANY_SAMPLES = 1000, 5000
SEEDS = 3
"""Seeds of the suite `paper`, for attacks that draw."""
