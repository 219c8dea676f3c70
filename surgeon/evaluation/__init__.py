"""Evaluating robustness: attacks, an engine that scores them independently, and what their numbers are worth."""

from surgeon.evaluation.engine import Verdict, evaluate
from surgeon.evaluation.noise import noise_accuracy
from surgeon.evaluation.normalized import Normalized
from surgeon.evaluation.pgd import pgd
from surgeon.evaluation.subject import evaluated
from surgeon.evaluation.summary import Summary, summarize

__all__ = ["Normalized", "Summary", "Verdict", "evaluate", "evaluated", "noise_accuracy", "pgd", "summarize"]
