"""Growth over processes: what a step sends and takes, a model of it, and what an evaluation gathers."""
