"""The results of an evaluation as data: attacks, verdicts, rows, summaries and findings.

No torch here: reports and model cards read these without it.
"""
