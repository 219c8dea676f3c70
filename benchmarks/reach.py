"""Which layers with weights are sites: one model of each family. Writes docs/reach.md: `make reach`.

A layer with weights is a convolution or a linear layer in the tree, whatever its class; `out_proj` of torch's
attention, which its module reads without calling it, counts as one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from benchmarks.coverage import _table
from benchmarks.sweep.order import all_models, family_of
from benchmarks.sweep.subject import sketch
from surgeon.graph.leaves import is_convolution
from surgeon.selection import Site

PAGE = Path("docs/reach.md")
HEAD = """# Reach

Written by `make reach`; not edited by hand. The first model by name of each family of timm and torchvision: how many
of its convolutions and linear layers are sites.

"""


def reach(model: nn.Module, sites: tuple[Site, ...]) -> dict[str, object]:
    """Count layers with weights and those that are sites, and the families of norms."""
    there = {s.name for s in sites}
    layers = [n for n, m in model.named_modules() if is_convolution(m) or isinstance(m, nn.Linear)]
    missed = [n for n in layers if n not in there]
    kinds: dict[str, int] = {}
    for name in missed:
        kind = type(model.get_submodule(name)).__name__
        kinds[kind] = kinds.get(kind, 0) + 1
    return {
        "layers": len(layers),
        "sites": len(layers) - len(missed),
        "missed": kinds,
        "first": missed[:1],
        "batch": any(s.kind == "norm" and s.family == "batch" for s in sites),
        "norms": any(s.kind == "norm" for s in sites),
    }


def main() -> None:
    """Look at one model of each family, and write the page."""
    chosen: dict[str, str] = {}
    for name in sorted(all_models()):
        chosen.setdefault(family_of(name), name)
    lines, total, reached, batch, norms = [], 0, 0, 0, 0
    for family, name in sorted(chosen.items()):
        try:
            found = sketch(name)
            row = reach(found.model, found.seen.sites)
        except Exception as error:  # what cannot be looked at is told in the table
            lines.append(
                [family, name, "", "", f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"]
            )
            continue
        total, reached = total + int(str(row["layers"])), reached + int(str(row["sites"]))
        batch, norms = batch + bool(row["batch"]), norms + bool(row["norms"])
        missed = ", ".join(f"{n} × {k}" for k, n in row["missed"].items())  # type: ignore[attr-defined]  # a dict
        first = f"{missed} ({row['first'][0]})" if missed else ""  # type: ignore[index]  # a list
        lines.append([family, name, str(row["layers"]), str(row["sites"]), first])
        print(lines[-1], file=sys.stderr, flush=True)
    text = (
        f"**{reached:,} of {total:,} layers with weights are sites ({100 * reached / max(total, 1):.1f} %)**, in "
        f"{len(chosen)} models. {batch} of them have batch norms, which `anl` takes by itself, and {norms} have "
        "norms for `--set adversarial-noise.norms=any`.\n\n"
    )
    PAGE.write_text(
        HEAD + text + _table(["family", "model", "layers", "sites", "missed"], lines), encoding="utf-8"
    )
    print(text)


if __name__ == "__main__":
    main()
