"""Which layers with weights are sites: one model of each family. Writes docs/reach.md: `make reach`.

A layer with weights is a convolution or a linear layer in the tree, whatever its class; `out_proj` of torch's
attention, which its module reads without calling it, counts as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.coverage import table
from benchmarks.sweep.layers import Reach, reach
from benchmarks.sweep.order import all_models, family_of
from benchmarks.sweep.subject import sketch

PAGE = Path("docs/reach.md")
HEAD = """# Reach

Written by `make reach`; not edited by hand. The first model by name of each family of timm and torchvision: how many
of its convolutions and linear layers are sites.

"""
ANY = {"batch", "layer", "group", "instance", "rms", "other"}


def page(found: Mapping[str, Reach], failed: Mapping[str, str]) -> str:
    """The page. found: by model; failed: why a model cannot be looked at."""
    layers = sum(r.layers for r in found.values())
    sites = layers - sum(len(r.missed) for r in found.values())
    batch, norms = (sum(bool(r.norms & f) for r in found.values()) for f in ({"batch"}, ANY))
    text = (
        f"**{sites:,} of {layers:,} layers with weights are sites ({100 * sites / max(layers, 1):.1f} %)**, in "
        f"{len(found)} models. {batch} of them have batch norms, which `anl` takes by itself, and {norms} have "
        "norms for `--set adversarial-noise.norms=any`.\n\n"
    )
    lines = []
    for name in sorted({*found, *failed}, key=lambda n: (family_of(n), n)):
        if name in failed:
            lines.append([family_of(name), name, "", "", failed[name]])
            continue
        row = found[name]
        missed = ", ".join(f"{n} × {kind}" for kind, n in row.kinds.items())
        first = f"{missed} ({row.missed[0]})" if missed else ""
        lines.append([family_of(name), name, str(row.layers), str(row.layers - len(row.missed)), first])
    return HEAD + text + table(["family", "model", "layers", "sites", "missed"], lines)


def main() -> None:
    """Look at one model of each family, and write the page."""
    chosen: dict[str, str] = {}
    for name in sorted(all_models()):
        chosen.setdefault(family_of(name), name)
    found: dict[str, Reach] = {}
    failed: dict[str, str] = {}
    for name in track(sorted(chosen.values()), description="models", console=Console(stderr=True)):
        try:
            subject = sketch(name)
            found[name] = reach(subject.model, subject.seen.sites)
        except Exception as error:  # architectures raise anything: the page says it
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    text = page(found, failed)
    PAGE.write_text(text, encoding="utf-8")
    print(next(line for line in text.splitlines() if line.startswith("**")))


if __name__ == "__main__":
    main()
