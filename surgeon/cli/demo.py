"""`surgeon demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surgeon.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from surgeon.demo import Row


@click.command("demo")
@options.output_option(required=False)
@options.seed_option
@click.option("--quick", is_flag=True, help="Less training, fewer images: to see that it runs.")
@options.json_option
def command(output: str | None, overwrite: bool, seed: int, quick: bool, as_json: bool) -> None:
    """The whole job on scikit-learn's digits: train, rewrite by each method, fine-tune, attack, compare."""
    import json

    from surgeon.cli.tables import console
    from surgeon.demo import EPS, SIGMA, STEPS, run

    folder = output or "runs/demo"
    rows = run(folder, seed=seed, quick=quick, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps([r.model_dump() for r in rows], indent=2))
        return
    console().print(_table(rows))
    console().print(
        f"Accuracy on {rows[0].clean.n} test images; noise is Gaussian with σ = {SIGMA}, FGSM and PGD-{STEPS} stay "
        f"within Linf ε = {EPS}; brackets are 95 % Wilson intervals. These are small networks, fine-tuned for "
        f"seconds: the table shows that the machinery works, not which method is best. PGD alone is an upper bound "
        f"of robustness, and for masked or noisy networks a poor one.",
        highlight=False,
    )
    console().print(f"written to {folder}: table.json, table.csv, adversarial.png, models/", highlight=False)


def _table(rows: list[Row]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("method", "parameters", "FLOPs", "function", "folds"):
        table.add_column(column)
    for column in ("at the cut", "clean", "noise", "FGSM", "PGD", "seconds"):
        table.add_column(column, justify="right")
    for r in rows:
        table.add_row(
            r.method, f"{r.parameters:.2f}×", f"{r.flops:.2f}×", r.effect, r.folds, f"{r.start:.1%}",
            f"{r.clean.value:.1%}", f"{r.noise:.1%}", f"{r.fgsm.value:.1%}",
            f"{r.pgd.value:.1%} [{r.pgd.low:.1%}, {r.pgd.high:.1%}]", f"{r.seconds:.0f}",
        )  # fmt: skip
    return table
