"""The names of the files that an evaluation leaves in its folder."""

SETTINGS = "settings.json"
RESULT = "evaluation.json"
VERDICTS = "verdicts.parquet"
"""A row for each image and attack."""
VERDICTS_AS_TEXT = "verdicts.csv"
"""The same rows."""
