"""Which layers with weights are sites: one model of each family. Writes docs/reach.md: `make reach`.

A layer with weights is a convolution or a linear layer in the tree, whatever its class; `out_proj` of torch's
attention, which its module reads without calling it, counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.coverage import table
from benchmarks.sweep.layers import Reach
from benchmarks.sweep.order import all_models, family_of
from benchmarks.sweep.subject import sketch

PAGE = Path("docs/reach.md")
HEAD = """# Reach

Written by `make reach`; not edited by hand. The first model by name of each family of timm and torchvision: how many
of its convolutions and linear layers are sites.

"""
ANY = {"batch", "layer", "group", "instance", "rms", "other"}


def page(reached: Mapping[str, Reach], failed: Mapping[str, str]) -> str:
    """The page. reached: by model; failed: why a model cannot be looked at."""
    layers = sum(r.layers for r in reached.values())
    sites = layers - sum(len(r.missed) for r in reached.values())
    batch, norms = (sum(bool(r.norms & f) for r in reached.values()) for f in ({"batch"}, ANY))
    text = (
        f"**{sites:,} of {layers:,} layers with weights are sites ({100 * sites / max(layers, 1):.1f} %)**, in "
        f"{len(reached)} models. {batch} of them have batch norms, which `anl` takes by itself, and {norms} have "
        "norms for `--set adversarial-noise.norms=any`.\n\n"
    )
    lines = []
    for name in sorted({*reached, *failed}, key=lambda n: (family_of(n), n)):
        if name in failed:
            lines.append([family_of(name), name, "", "", failed[name]])
            continue
        row = reached[name]
        missed = ", ".join(f"{n} × {kind}" for kind, n in row.kinds.items())
        first = f"{missed} ({next(iter(row.missed))})" if missed else ""
        lines.append([family_of(name), name, str(row.layers), str(row.layers - len(row.missed)), first])
    why = [
        [name, layer, reason.replace("|", "\\|")]
        for name in sorted(reached, key=lambda n: (family_of(n), n))
        for layer, reason in _together(reached[name].missed).items()
    ]
    return (
        HEAD
        + text
        + table(["family", "model", "layers", "sites", "missed"], lines)
        + "\n## Layers that are not sites\n\n"
        + (table(["model", "layers", "why"], why) if why else "Every layer is a site.\n")
    )


def _together(missed: Mapping[str, str]) -> dict[str, str]:
    """Reasons by layers: names that differ in their numbers alone stand in one row, with `*` for the numbers."""
    by_name: dict[tuple[str, str], list[str]] = {}
    for name, why in missed.items():
        by_name.setdefault((re.sub(r"(?<=\.)\d+", "*", name), why), []).append(name)
    return {f"{n[0]}" if len(n) == 1 else f"{len(n)} × {key}": why for (key, why), n in by_name.items()}


def main() -> None:
    """Look at one model of each family, and write the page."""
    chosen: dict[str, str] = {}
    for name in sorted(all_models()):
        chosen.setdefault(family_of(name), name)
    reached: dict[str, Reach] = {}
    failed: dict[str, str] = {}
    for name in track(sorted(chosen.values()), description="models", console=Console(stderr=True)):
        try:
            subject = sketch(name)
            reached[name] = subject.reach
        except Exception as error:  # architectures raise anything: the page says it
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    text = page(reached, failed)
    PAGE.write_text(text, encoding="utf-8")
    print(next(line for line in text.splitlines() if line.startswith("**")))


if __name__ == "__main__":
    main()
