"""Evaluating robustness: attacks, an engine that scores them independently, and what their numbers are worth.

The names load on first use: what is data alone (attacks, verdicts, summaries, assessments) imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Assessment": "assessment", "Attack": "threat", "Certificate": "certification", "Check": "assessment",
    "Diagnosis": "assessment", "Finding": "findings", "Normalized": "normalized", "Outcome": "verdict",
    "Paired": "statistics", "Share": "statistics", "Store": "store", "Summary": "summary", "Verdict": "verdict",
    "adversarial_images": "kept", "assess": "folder", "certified_accuracy": "certification",
    "certify": "certification", "diagnose": "diagnostics", "evaluate": "engine", "evaluated": "subject", "mcnemar": "statistics", "noise_accuracy": "noise",
    "noise_table": "noise", "read_assessment": "folder", "read_outcome": "store", "suite": "suites", "summarize": "summary",
    "transfer_matrix": "transfer", "wilson": "statistics",
}  # fmt: skip
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from surgeon.evaluation.assessment import Assessment as Assessment
    from surgeon.evaluation.assessment import Check as Check
    from surgeon.evaluation.assessment import Diagnosis as Diagnosis
    from surgeon.evaluation.certification import Certificate as Certificate
    from surgeon.evaluation.certification import certified_accuracy as certified_accuracy
    from surgeon.evaluation.certification import certify as certify
    from surgeon.evaluation.diagnostics import diagnose as diagnose
    from surgeon.evaluation.engine import evaluate as evaluate
    from surgeon.evaluation.findings import Finding as Finding
    from surgeon.evaluation.folder import assess as assess
    from surgeon.evaluation.folder import read_assessment as read_assessment
    from surgeon.evaluation.kept import adversarial_images as adversarial_images
    from surgeon.evaluation.noise import noise_accuracy as noise_accuracy
    from surgeon.evaluation.noise import noise_table as noise_table
    from surgeon.evaluation.normalized import Normalized as Normalized
    from surgeon.evaluation.statistics import Paired as Paired
    from surgeon.evaluation.statistics import Share as Share
    from surgeon.evaluation.statistics import mcnemar as mcnemar
    from surgeon.evaluation.statistics import wilson as wilson
    from surgeon.evaluation.store import Store as Store
    from surgeon.evaluation.store import read_outcome as read_outcome
    from surgeon.evaluation.subject import evaluated as evaluated
    from surgeon.evaluation.suites import suite as suite
    from surgeon.evaluation.summary import Summary as Summary
    from surgeon.evaluation.summary import summarize as summarize
    from surgeon.evaluation.threat import Attack as Attack
    from surgeon.evaluation.transfer import transfer_matrix as transfer_matrix
    from surgeon.evaluation.verdict import Outcome as Outcome
    from surgeon.evaluation.verdict import Verdict as Verdict


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'surgeon.evaluation' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"surgeon.evaluation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
