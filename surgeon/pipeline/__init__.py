"""Complete jobs in folders that can be resumed: train, run, evaluate, study, convert, verify, examine."""

from surgeon.pipeline.doctor import examine
from surgeon.pipeline.evaluating import evaluate_target
from surgeon.pipeline.reproducing import reproduce
from surgeon.pipeline.running import run
from surgeon.pipeline.studying import Study, study
from surgeon.pipeline.training import Trained, train
from surgeon.pipeline.verifying import verify_folder

__all__ = [
    "Study",
    "Trained",
    "evaluate_target",
    "examine",
    "reproduce",
    "run",
    "study",
    "train",
    "verify_folder",
]
