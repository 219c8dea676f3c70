"""An evaluation as an entry of RobustBench."""

from __future__ import annotations

from typing import Any

from surgeon.results.assessment import Assessment

_NORMS = {"linf": "Linf", "l2": "L2"}


def model_info(found: Assessment) -> dict[str, Any]:
    """Return a `model_info` entry of RobustBench, with accuracies in percent as text.

    Args:
        found: The evaluation.

    Returns:
        The entry; None for fields that the authors must fill in. `autoattack_acc` is filled in only for the
        standard attacks with a headline; `unreliable` is true unless the diagnostics passed.
    """
    s = found.summary
    main, worst = s.main, s.headline
    standard = worst is not None and main is not None and main.group == "standard"
    return {
        "link": None,
        "name": found.subject.name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": str(found.data.get("source", "")),
        "venue": None,
        "architecture": found.subject.model
        + (f" with {found.subject.recipe}" if found.subject.recipe else ""),
        "eps": main.eps if main else None,
        "norm": _NORMS.get(main.norm) if main else None,
        "clean_acc": f"{100 * s.clean.value:.2f}",
        "reported": f"{100 * worst.share.value:.2f}" if worst else None,
        "autoattack_acc": f"{100 * worst.share.value:.2f}" if worst and standard else None,
        "unreliable": not bool(found.reliable),
        "footnote": "; ".join(s.refused) or (worst.text if worst else None),
    }
