"""The papers' tables at budgets that end: each module is one table, `python -m experiments.NAME --help`."""
