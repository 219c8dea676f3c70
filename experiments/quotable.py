"""What AutoAttack, black-box and adaptive attacks leave of the PGD figures of KAP: one sentence, made of the runs."""

from __future__ import annotations

from collections.abc import Sequence

from surgeon.numerals import points
from surgeon.protocol import Claim, Reproduction
from surgeon.protocol.protocol import BUDGETS
from surgeon.protocol.reproduction import answered

TABLE, TRANSFERS = "kap/table1", "kap/tableA3"
KAP, NOISE = "KAP(σ=0.1)", "NT(σ=0.1)"
PGD, AUTOATTACK, SQUARE, KNOWING = "PGD", "AutoAttack", "Square", "knowing the cut"
MISSING = "not measured yet"


def quotable(reproduced: Sequence[Reproduction]) -> str:
    """The sentence, of the largest budget with runs of the table's row; what no run measured is said to be missing.

    Args:
        reproduced: Reproductions, of which those of kap/table1 and kap/tableA3 are read.
    """
    table = _largest(reproduced, TABLE)
    if table is None:
        return f"{MISSING.capitalize()}: no run of `{TABLE}` has the row {KAP}."
    transfers = next(
        (f for f in reproduced if (f.protocol.name, f.budget) == (TRANSFERS, table.budget)), table
    )
    evaluation = table.protocol.recipes_of(KAP, table.budget)[-1].evaluation
    assert evaluation is not None and evaluation.norm is not None and evaluation.eps is not None
    size = f"{evaluation.norm.upper().replace('LINF', 'Linf')}, ε = {evaluation.eps:.3g}"
    network, _ = table.protocol.network_of(KAP, table.budget)
    images = next((c.images for c in table.rows[KAP].values() if c.images), 0)
    said = (
        f"Of {images} CIFAR-10 test images a network with kernel average pooling and noise (`{network}`, {KAP}) "
        f"gets {_share(table, KAP, 'clean')} right, and {_share(table, KAP, PGD)} under PGD ({size}); "
        f"AutoAttack leaves {_share(table, KAP, AUTOATTACK)}{_lost(table, AUTOATTACK)}, black-box attacks "
        f"{_black_box(table, transfers)}, and an attacker who knows the surgery "
        f"{_share(table, KAP, KNOWING)}{_lost(table, KNOWING)}; the network that was "
        f"trained with the same noise alone keeps {_share(table, NOISE, KNOWING)} under that attacker{_beside(table)}."
    )
    runs = len(table.of(KAP))
    count = f"{runs} seed" + ("s" if runs != 1 else "")
    how = "mean ± standard deviation over seeds, differences with 95 % intervals, image by image"
    note = table.protocol.budgets[table.budget].note
    return f"> {said}\n\nBudget `{table.budget}` of `{TABLE}`, {count}: {how}. {note}"


def _largest(reproduced: Sequence[Reproduction], name: str) -> Reproduction | None:
    """The reproduction of the largest budget that is about the paper and has runs of KAP's row."""
    own = [f for f in reproduced if f.protocol.name == name and f.budget != "smoke" and f.of(KAP)]
    order = {"paper": 0, "gpu": 1, "small": 2}
    assert set(order) < set(BUDGETS)
    return min(own, key=lambda f: order[f.budget], default=None)


def _share(table: Reproduction, row: str, column: str) -> str:
    cell = table.rows.get(row, {}).get(column)
    if cell is None and row in table.rows:
        return "**not measured at this budget**"
    if cell is None or cell.mean is None:
        return f"**{MISSING}**"
    return f"**{cell.mean:.1f} %**" + ("" if cell.deviation is None else f" ± {cell.deviation:.1f}")


def _lost(table: Reproduction, column: str) -> str:
    """What a stronger attack takes of the PGD figure, on the same images."""
    difference = answered(
        Claim(text="", row=KAP, against=KAP, column=column, than=PGD), table.runs
    ).difference
    if difference is None:
        return ""
    interval = f"[{points(difference.low)}, {points(difference.high)}]"
    return f" ({points(difference.mean)} points {interval} of the PGD figure)"


def _black_box(table: Reproduction, transfers: Reproduction) -> str:
    """Square, and the strongest attack that is transferred from another network; what was not measured is said."""
    square = f"{_share(table, KAP, SQUARE)} (Square)"
    cells = transfers.rows.get(KAP, {})
    known = {n: c.mean for n, c in cells.items() if n.startswith("from ") and c.mean is not None}
    if not known:
        return f"{square} and **{MISSING}** (transferred)"
    worst = min(known, key=lambda n: known[n])
    return f"{square} and {_share(transfers, KAP, worst)} (transferred {worst})"


def _beside(table: Reproduction) -> str:
    """KAP less noise alone, under the attacker who knows the surgery."""
    difference = answered(Claim(text="", row=KAP, against=NOISE, column=KNOWING), table.runs).difference
    if difference is None:
        return ""
    return f" (KAP less that: {points(difference.mean)} points [{points(difference.low)}, {points(difference.high)}])"
