"""`surgeon demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surgeon.cli import options

if TYPE_CHECKING:
    from surgeon.cli.sheet import Sheet
    from surgeon.demo import Row


@click.command("demo")
@options.output_option(required=False)
@options.seed_option
@click.option("--quick", is_flag=True, help="Less training, fewer images: to see that it runs.")
@options.json_option
def command(output: str | None, overwrite: bool, seed: int, quick: bool, as_json: bool) -> None:
    """The whole job on scikit-learn's digits: train, rewrite by each method, fine-tune, attack, compare."""

    from surgeon.cli.tables import console
    from surgeon.demo import EPS, SIGMA, STEPS, run

    folder = output or "runs/demo"
    with options.json_alone(as_json):
        rows = run(folder, seed=seed, quick=quick, overwrite=overwrite)
    if as_json:
        options.echo_json([r.model_dump() for r in rows])
        return
    console().print(_table(rows))
    console().print(
        f"Accuracy on {rows[0].clean.images} test images, a part of them with each of {rows[0].clean.seeds} "
        f"seeds; noise is Gaussian with σ = {SIGMA}, FGSM and PGD-{STEPS} stay within Linf ε = {EPS}; brackets "
        f"are 95 % intervals over images and seeds. These are small networks, fine-tuned for seconds: rows whose "
        f"intervals overlap are not told apart, and the table shows that the machinery works, not which method is "
        f"best. PGD alone is an upper bound of robustness, and for masked or noisy networks a poor one.",
        highlight=False,
    )
    click.echo(f"written to {folder}: table.json, table.csv, adversarial.png, models/")


def _table(rows: list[Row]) -> Sheet:
    from surgeon.cli.sheet import Column, Sheet
    from surgeon.numerals import percent, with_interval

    table = Sheet(
        "method",
        *(Column(title, spare=True) for title in ("parameters", "FLOPs", "function", "folds")),
        Column("at the cut", right=True, spare=True),
        *(Column(title, right=True) for title in ("clean", "noise", "FGSM", "PGD")),
        Column("seconds", right=True, spare=True),
    )
    for r in rows:
        table.add(
            r.method,
            f"{r.parameters:.2f}×",
            f"{r.flops:.2f}×",
            r.effect,
            r.folds,
            percent(r.start),
            percent(r.clean.value),
            percent(r.noise.value),
            percent(r.fgsm.value),
            with_interval(r.pgd),
            f"{r.seconds:.0f}",
        )
    return table
