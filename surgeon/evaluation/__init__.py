"""Evaluating robustness: attacks, an engine that scores them independently, and diagnostics of the result.

Start with `assess`, which runs a whole evaluation into a folder, or with `evaluate`, which runs a list of
attacks. `suite` chooses the attacks, `summarize` adds verdicts up, and `diagnose` says whether the numbers
can be trusted. `Normalized` wraps a network so that it accepts [0, 1] pixels, which all functions here
expect.

The names load on first use: those that hold only data (attacks, verdicts, summaries, assessments) import no
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgeon.lazy import lazily

_HOME = {
    "Assessment": "surgeon.results.assessment",
    "Attack": "surgeon.results.threat",
    "Certificate": "surgeon.evaluation.beyond.certification",
    "Check": "surgeon.results.assessment",
    "Diagnosis": "surgeon.results.assessment",
    "Finding": "surgeon.results.findings",
    "Normalized": "surgeon.models.pixels",
    "Outcome": "surgeon.results.verdict",
    "Paired": "surgeon.results.statistics",
    "Share": "surgeon.results.statistics",
    "Shift": "surgeon.results.shifted",
    "Store": "surgeon.evaluation.engine.store",
    "Summary": "surgeon.results.summary",
    "Verdict": "surgeon.results.verdict",
    "adversarial_images": "surgeon.evaluation.engine.kept",
    "assess": "surgeon.evaluation.folder",
    "certified_accuracy": "surgeon.evaluation.beyond.certification",
    "certify": "surgeon.evaluation.beyond.certification",
    "diagnose": "surgeon.evaluation.diagnostics.probes",
    "evaluate": "surgeon.evaluation.engine.blocks",
    "evaluated": "surgeon.evaluation.engine.subject",
    "mcnemar": "surgeon.results.statistics",
    "noise_accuracy": "surgeon.evaluation.beyond.under_noise",
    "shift_accuracy": "surgeon.evaluation.beyond.published",
    "noise_table": "surgeon.evaluation.beyond.under_noise",
    "read_assessment": "surgeon.evaluation.finished",
    "read_outcome": "surgeon.evaluation.engine.store",
    "suite": "surgeon.evaluation.suites",
    "summarize": "surgeon.results.summary",
    "transfer_matrix": "surgeon.evaluation.attacks.transfer",
    "wilson": "surgeon.results.statistics",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from surgeon.evaluation.attacks.transfer import transfer_matrix as transfer_matrix
    from surgeon.evaluation.beyond.certification import Certificate as Certificate
    from surgeon.evaluation.beyond.certification import certified_accuracy as certified_accuracy
    from surgeon.evaluation.beyond.certification import certify as certify
    from surgeon.evaluation.beyond.published import shift_accuracy as shift_accuracy
    from surgeon.evaluation.beyond.under_noise import noise_accuracy as noise_accuracy
    from surgeon.evaluation.beyond.under_noise import noise_table as noise_table
    from surgeon.evaluation.diagnostics.probes import diagnose as diagnose
    from surgeon.evaluation.engine.blocks import evaluate as evaluate
    from surgeon.evaluation.engine.kept import adversarial_images as adversarial_images
    from surgeon.evaluation.engine.store import Store as Store
    from surgeon.evaluation.engine.store import read_outcome as read_outcome
    from surgeon.evaluation.engine.subject import evaluated as evaluated
    from surgeon.evaluation.finished import read_assessment as read_assessment
    from surgeon.evaluation.folder import assess as assess
    from surgeon.evaluation.suites import suite as suite
    from surgeon.models.pixels import Normalized as Normalized
    from surgeon.results.assessment import Assessment as Assessment
    from surgeon.results.assessment import Check as Check
    from surgeon.results.assessment import Diagnosis as Diagnosis
    from surgeon.results.findings import Finding as Finding
    from surgeon.results.shifted import Shift as Shift
    from surgeon.results.statistics import Paired as Paired
    from surgeon.results.statistics import Share as Share
    from surgeon.results.statistics import mcnemar as mcnemar
    from surgeon.results.statistics import wilson as wilson
    from surgeon.results.summary import Summary as Summary
    from surgeon.results.summary import summarize as summarize
    from surgeon.results.threat import Attack as Attack
    from surgeon.results.verdict import Outcome as Outcome
    from surgeon.results.verdict import Verdict as Verdict


__getattr__, __dir__ = lazily(__name__, _HOME)
