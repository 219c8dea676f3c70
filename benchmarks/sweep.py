"""`make sweep`: recipes over many architectures, one subprocess a model, resumable.

For each model and recipe: sites, edits, whether it folds, or the error. One line of JSON a pair in
runs/sweep.jsonl; pairs that are there are not repeated. A table of the outcomes at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import track

ONE = """
import json, sys, resource
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]) << 20, int(sys.argv[3]) << 20))
import torch, surgeon
from surgeon.models import input_size_of
torch.set_num_threads(1)
model = surgeon.create_model(sys.argv[1]).eval()
for recipe in sys.argv[2].split(","):
    try:
        cut = surgeon.apply(model, recipe, copy=False)
        checks = surgeon.verify(model, cut)
        bad = [f"{c.name}: {c.detail}" for c in checks if c.ok is False]
        row = dict(outcome="failed" if bad else "ok", detail="; ".join(bad), edits=len(cut.surgery.edits), folds=cut.surgery.folds)
    except surgeon.SurgeonError as error:
        row = dict(outcome="refused", detail=str(error)[:300])
    except Exception as error:
        row = dict(outcome="error", detail=f"{type(error).__name__}: {error}"[:300])
    print(json.dumps(dict(model=sys.argv[1], recipe=recipe, **row)), flush=True)
"""


def main() -> None:
    """Sweep."""
    from surgeon.models import list_models
    from surgeon.recipe import load_recipe, shipped

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="*", help="glob on model names")
    parser.add_argument("--recipes", default="kap,anl,defective,noise")
    parser.add_argument("--output", type=Path, default=Path("runs/sweep.jsonl"))
    parser.add_argument("--memory", type=int, default=16_000, help="MiB of address space a model")
    parser.add_argument("--seconds", type=int, default=600, help="time a model")
    given = parser.parse_args()
    recipes = (
        tuple(r for r in shipped() if load_recipe(r).surgery)
        if given.recipes == "all"
        else tuple(given.recipes.split(","))
    )
    given.output.parent.mkdir(parents=True, exist_ok=True)
    done = {(r["model"], r["recipe"]) for r in _rows(given.output)}
    for name in track(list_models(given.models), description="models", console=Console(stderr=True)):
        left = [r for r in recipes if (name, r) not in done]
        if left:
            found = _one(name, left, given.memory, given.seconds)
            with given.output.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(r) + "\n" for r in found)
    rows = _rows(given.output)
    for recipe in recipes:
        counts = Counter(r["outcome"] for r in rows if r["recipe"] == recipe)
        print(f"{recipe:18} " + ", ".join(f"{n} {o}" for o, n in counts.most_common()))


def _one(name: str, recipes: list[str], memory: int, seconds: int) -> list[dict[str, object]]:
    command = [sys.executable, "-c", ONE, name, ",".join(recipes), str(memory)]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        text, reason = finished.stdout, f"exit code {finished.returncode}: {finished.stderr[-200:]}"
    except subprocess.TimeoutExpired as error:
        text, reason = (error.stdout or b"").decode(), f"over {seconds} s"
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    seen = {r["recipe"] for r in rows}
    return rows + [
        dict(model=name, recipe=r, outcome="died", detail=reason) for r in recipes if r not in seen
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
