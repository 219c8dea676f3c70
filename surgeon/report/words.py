"""Wording of the page: names of sizes, and descriptions of attacks, checks and counts."""

from __future__ import annotations

import re

from surgeon.results.rows import Row
from surgeon.results.threat import UNION, size_text

_ATTACKS = {
    "apgd-ce": "Auto-PGD on the cross-entropy (Croce & Hein 2020)",
    "apgd-dlr": "Auto-PGD on the difference of logits ratio (Croce & Hein 2020)",
    "apgd-t": "Auto-PGD aimed at one wrong class after the other (Croce & Hein 2020)",
    "alma": "ALMA: the smallest perturbation, by an augmented Lagrangian (Rony et al. 2021)",
    "apgd-t-near": "Auto-PGD aimed at the nearest classes by slope (as in MALT, Melamed et al. 2024)",
    "cw": "Carlini & Wagner's smallest L2 perturbation that turns the image (2017); its size has no bound",
    "ddn": "DDN: the smallest L2 perturbation, direction and length apart (Rony et al. 2019)",
    "fab-t": "FAB, to the nearest decision boundary, one wrong class after the other (Croce & Hein 2020)",
    "fab": "FAB, to the nearest decision boundary (Croce & Hein 2020)",
    "fgm": "One step along the gradient (Goodfellow et al. 2015)",
    "fgsm": "One step along the sign of the gradient (Goodfellow et al. 2015)",
    "fmn": "FMN: the smallest perturbation, to the boundary and along it (Pintor et al. 2021)",
    "hopskipjump": "HopSkipJump: along the decision boundary by answers alone (Chen et al. 2020)",
    "mi-fgsm": "FGSM iterated with momentum (Dong et al. 2018)",
    "own-pgd": "Projected gradient descent (Madry et al. 2018), this library's own",
    "pgd": "Projected gradient descent on the cross-entropy (Madry et al. 2018)",
    "pgd-margin": "Projected gradient descent on the margin between the true class and the best other",
    "square": "Square: random search by queries, no gradient is seen (Andriushchenko et al. 2020)",
    "transfer-apgd-ce": "Images that Auto-PGD made for another model",
    "uniform-noise": "Random noise U(0, u), brought back to [0, 1]: no attack",
}
_CHECKS = {
    "two-passes": "Do passes over the same images agree?",
    "zero-gradients": "Does the loss have a gradient at the images?",
    "few-images": "Are there enough images to tell anything from?",
    "finite-differences": "Are gradients the slopes of the function?",
    "eps-curve": "Do larger perturbations lower accuracy?",
    "unbounded": "Does accuracy fall to 0 where images may become anything?",
    "budget": "Is the attacks' budget large enough?",
    "black-box": "Are attacks with gradients at least as strong as one without?",
    "losses": "Does each loss turn most of what the other turns?",
    "random-sign": "Are attacks stronger than random signs?",
    "transfer": "Are images made for this model stronger than those made for another?",
    "silent-success": "Is what an attack passes over on its way also what it gives?",
    "incomplete-optimisation": "Had the attack come to its end?",
    "transfer-failure": "Is what turned the network in the attack still turned when it is scored?",
    "bad-initialisation": "Does the loss have a gradient where attacks begin?",
    "local-optimality": "Had the attack for the smallest distance come to its end?",
}
GROWTH = {
    "parameters": ("parameters", "trained numbers"),
    "flops": ("FLOPs", "of one forward pass; a multiply-add counts as two"),
    "activations": ("activations", "numbers that one forward pass writes"),
    "buffers": ("buffers", "numbers kept beside the parameters, such as masks"),
}
"""Field of `surgeon.edits.Growth` → (name, what it counts)."""


def size_words(norm: str, eps: float | None) -> str:
    """Format norm and ε: `L∞ ε = 8/255`, `L2 ε = 0.5`.

    Args:
        norm: "linf" or "l2".
        eps: Size in [0, 1] pixels; None for an unbounded attack.

    Returns:
        The text; `unbounded` for None.
    """
    if eps is None and norm.startswith(UNION):
        parts = [part.split(maxsplit=1) for part in norm.removeprefix(UNION).split(", ")]
        return "all of " + ", ".join(f"{norm_words(name)} ε = {size}" for name, size in parts)
    if eps is None:
        return "unbounded"
    name, size = size_text(norm, eps).split(maxsplit=1)
    return f"{norm_words(name)} ε = {size}"


def norm_words(norm: str) -> str:
    """Format a norm: `L∞`, `L2`.

    Args:
        norm: "linf" or "l2".

    Returns:
        The text.
    """
    return {"linf": "L∞", "l2": "L2", "l1": "L1"}.get(norm, norm)


def attack_words(name: str) -> str:
    """Describe an attack.

    Args:
        name: Its name in a suite.

    Returns:
        The description; '' for an unknown attack.
    """
    fits = [n for n in _ATTACKS if name == n or name.startswith(f"{n}-")]
    text = _ATTACKS[max(fits, key=len)] if fits else ""
    return (
        f"{text}; gradients are the mean over the model's noise" if text and name.endswith("-eot") else text
    )


def access_words(row: Row) -> str:
    """Describe an attack's access to the model.

    Args:
        row: Accuracy under the attack.

    Returns:
        `white-box`, `black-box`, `random` or `transfer from …`.
    """
    if row.source:
        return f"transfer from {row.source}"
    if row.attack in ("square", "hopskipjump"):
        return "black-box"
    return "random" if row.attack == "uniform-noise" else "white-box"


def check_words(code: str) -> str:
    """Return the question that a diagnostic answers with yes if it passes.

    Args:
        code: The diagnostic's code.

    Returns:
        The question; '' for an unknown diagnostic.
    """
    code = re.sub(r" in (linf|l2|l1)$", "", code)  # of a further norm of a union
    several = next((c for c in ("transfer", "local-optimality") if code.startswith(c + " ")), code)
    return _CHECKS.get(several, "")
