"""What came of a protocol: the paper's figures beside those measured, and an answer to each of its claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon import html
from surgeon.protocol.differences import difference_of
from surgeon.protocol.measures import Measured
from surgeon.protocol.protocol import Claim, Protocol
from surgeon.results.differences import Difference

Answer = Literal["holds", "does not hold", "not decided at this budget"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ran(_Frozen):
    """A row that was trained and evaluated with one seed.

    Examples:
        >>> fields = {"settings": "", "tested": "", "columns": {"clean": None}, "reliable": None, "headline": False}
        >>> Ran(row="NT", seed=0, **fields).columns
        {'clean': None}
    """

    row: str
    seed: int
    settings: str = Field(description="hash of the recipes, the network and the images")
    tested: str = Field(description="hash of the test images, in their order")
    labelled: str = Field(default="", description="hash of their labels; empty where it was not recorded")
    columns: dict[str, Measured | None]
    reliable: bool | None = Field(description="whether no diagnostic failed; None without diagnostics")
    headline: bool = Field(description="whether a number may be quoted")
    seconds: float = Field(
        default=0.0,
        description="of training and evaluation; of a run that was resumed, at least those of its epochs and attacks",
    )
    made: dict[str, Any] = Field(default_factory=dict, description="machine and versions")
    digest: str = Field(default="", description="of all of this (`Runs.sealed`); empty where it was not made")


class Runs(_Frozen):
    """All runs of a protocol at a budget: the file that the table is made from.

    Examples:
        >>> fields = {"settings": "", "tested": "", "columns": {}, "reliable": None, "headline": False}
        >>> runs = Runs(protocol="kap/table1", budget="smoke").with_(Ran(row="NT", seed=0, **fields))
        >>> runs.of("NT", 0).row, runs.of("NT", 1)
        ('NT', None)
    """

    protocol: str
    budget: str
    runs: tuple[Ran, ...] = ()

    def of(self, row: str, seed: int) -> Ran | None:
        """Return one run.

        Args:
            row: A name of the protocol's rows.
            seed: The seed.

        Returns:
            The run; None if it is not there.
        """
        return next((r for r in self.runs if (r.row, r.seed) == (row, seed)), None)

    def with_(self, run: Ran) -> Runs:
        """Return these runs and one more with its digest, in place of an earlier one of its row and seed.

        Args:
            run: The run.

        Returns:
            The runs, sorted by row and seed.
        """
        run = self.sealed(run)
        others = [r for r in self.runs if (r.row, r.seed) != (run.row, run.seed)]
        return self.model_copy(update={"runs": tuple(sorted([*others, run], key=lambda r: (r.row, r.seed)))})

    def sealed(self, run: Ran) -> Ran:
        """Return a run with the digest of its record, its protocol and its budget.

        It tells a slip of the hand or of a tool from what was measured; who means to may make it anew.

        Args:
            run: The run.

        Returns:
            The run; `digest` is the SHA-256 of the record as JSON, without what is at its default.

        Examples:
            >>> fields = {"settings": "", "tested": "", "columns": {}, "reliable": None, "headline": False}
            >>> run = Ran(row="NT", seed=0, **fields)
            >>> len(Runs(protocol="kap/table1", budget="smoke").sealed(run).digest)
            64
        """
        record = run.model_dump(mode="json", exclude={"digest"}, exclude_defaults=True)
        text = json.dumps([self.protocol, self.budget, record], sort_keys=True)
        return run.model_copy(update={"digest": hashlib.sha256(text.encode()).hexdigest()})


class Cell(_Frozen):
    """A column of a row, in per cent or, of a time and another number, in its unit.

    Examples:
        >>> Cell(paper=94.89, measured=(93.0, 95.0)).mean
        94.0
    """

    paper: float | None = None
    unit: str = Field(default="%", description="`%` of a share, s or ms of a time, empty for another number")
    measured: tuple[float, ...] = Field(default=(), description="by seed")
    images: int = 0

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None where nothing was measured."""
        return fmean(self.measured) if self.measured else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds; None for fewer than two."""
        return stdev(self.measured) if len(self.measured) > 1 else None


class Answered(_Frozen):
    """A claim of the paper, and what the measured difference says of it.

    Examples:
        >>> claim = Claim(text="pooling resists more", row="KAP", against="NT", column="PGD")
        >>> Answered(claim=claim, answer="not decided at this budget", difference=None).seeds
        0
    """

    claim: Claim
    answer: Answer
    difference: Difference | None = Field(
        description="row less the one that it is compared with; its `pairs` are empty where it is not known which "
        "images are right, and the two shares or numbers are compared; None: not measured, or numbers of one seed"
    )
    seeds: int = Field(default=0, description="over which the difference is")
    unit: str = Field(default="%", description="of the difference: `%` for shares, empty for other numbers")


class Reproduction(_Frozen):
    """A table of a paper, run at a budget.

    Examples:
        >>> from surgeon.pipeline import reproduce
        >>> result = reproduce("kap/table1", "runs/kap", budget="smoke")  # doctest: +SKIP
        >>> result.rows["NT"]["clean"].paper, len(result.of("NT"))  # doctest: +SKIP
        (94.89, 1)
    """

    protocol: Protocol
    budget: str
    rows: dict[str, dict[str, Cell]] = Field(description="row → column → cell")
    runs: tuple[Ran, ...]
    claims: tuple[Answered, ...]

    @property
    def wanted(self) -> int:
        """How many runs the budget has."""
        return len(self.rows) * self.protocol.budgets[self.budget].seeds

    @property
    def finished(self) -> bool:
        """Whether every row has every seed of the budget."""
        return len(self.runs) == self.wanted

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: the paper's figures beside the measured means, and the claims' answers."""
        rows = [
            (row, name, *("–" if n is None else f"{n:.4g}" for n in (cell.paper, cell.mean)), cell.unit)
            for row, cells in self.rows.items()
            for name, cell in cells.items()
        ]
        head = ("row", "column", "paper", "measured", "unit")
        known = self.protocol
        shown = html.table(rows, head=head, caption=f"{known.name}, {known.place}, budget {self.budget}")
        return shown + html.paragraphs(f"{a.answer}: {a.claim.text}" for a in self.claims)

    def of(self, row: str) -> list[Ran]:
        """Return the runs of a row.

        Args:
            row: A name of `rows`.

        Returns:
            The runs, by seed.
        """
        return [r for r in self.runs if r.row == row]


def tabulated(protocol: Protocol, budget: str, runs: Sequence[Ran]) -> Reproduction:
    """Put the runs of a protocol into its table, and answer its claims.

    Args:
        protocol: The protocol.
        budget: The budget that they were run with.
        runs: The runs.

    Returns:
        The table, with an answer to each claim.

    Examples:
        >>> from surgeon.protocol import Protocol
        >>> about = {"name": "mine", "title": "Accuracy", "paper": "Somebody et al.", "place": "Table 1"}
        >>> rows = {"stock": {"paper": {"clean": 99.0}}}
        >>> what = {"model": "zoo/lenet5", "data": "digits", "columns": {"clean": {"of": "clean"}}, "rows": rows}
        >>> table = tabulated(Protocol(**about, **what, budgets={"smoke": {"seeds": 1}}), "smoke", [])
        >>> table.rows["stock"]["clean"].paper, table.finished
        (99.0, False)
    """
    rows, columns = protocol.rows_of(budget), protocol.columns_of(budget)
    kept = tuple(r for r in runs if r.row in rows)

    def cell(row: str, name: str) -> Cell:
        measurements = [m for r in kept if r.row == row and (m := r.columns.get(name)) is not None]
        error = columns[name].error

        def figure(m: Measured) -> float:
            if m.share is None:
                return (m.value if m.time is None else m.time) or 0.0
            return 100 * (1 - m.share.value if error else m.share.value)

        return Cell(
            paper=protocol.rows[row].paper.get(name),
            unit=columns[name].unit,
            measured=tuple(map(figure, measurements)),
            images=measurements[0].share.n if measurements and measurements[0].share else 0,
        )

    return Reproduction(
        protocol=protocol,
        budget=budget,
        rows={r: {n: cell(r, n) for n in columns} for r in rows},
        runs=kept,
        claims=tuple(
            answered(c, kept, unit=columns[c.column].unit)
            for c in protocol.claims
            if {c.row, c.against} <= set(rows) and {*c.columns} <= set(columns)
        ),
    )


def _of_the_same(one: Ran, other: Ran) -> bool:
    """Whether two rows were tested on the same images, with the same labels where both recorded them."""
    labels = {r.labelled for r in (one, other) if r.labelled}
    return one.tested == other.tested and len(labels) <= 1


def answered(claim: Claim, runs: Sequence[Ran], *, unit: str = "%") -> Answered:
    """Compare the two rows of a claim on the images that both were tested on, seed by seed.

    The comparison is paired image by image; where an evaluation only keeps the share of images that are right (curves,
    noise on adversarial images), the two shares are compared, whose interval is wider.

    It holds where the whole 95 % interval of the difference is above the margin, and does not hold where all of it is
    below. A claim that two figures differ holds where the whole interval is beyond the margin on one side of 0, and
    does not hold where all of it is within the margin. Two rows of one seed decide nothing: the interval is then over
    images alone, and leaves out by how much one training differs from another.

    Args:
        claim: The claim.
        runs: The runs.
        unit: The column's unit; empty for numbers that are neither shares nor times.

    Returns:
        The answer, with the difference that it comes from.
    """
    by = {(r.row, r.seed): r for r in runs}
    pairs = []
    for seed in sorted({r.seed for r in runs}):
        column, than = claim.columns
        both = [(by.get((claim.against, seed)), than), (by.get((claim.row, seed)), column)]
        measurements = [(r, m) for r, name in both if r and (m := r.columns.get(name))]
        if len(measurements) == 2 and _of_the_same(measurements[0][0], measurements[1][0]):
            pairs.append((measurements[0][1], measurements[1][1]))
    difference, margin = difference_of(pairs), claim.margin / 100 if unit == "%" else claim.margin
    answer: Answer = "not decided at this budget"
    # Two columns of one row are of the same network: no training lies between them.
    if difference is not None and (len(pairs) > 1 or claim.row == claim.against):
        low, high = difference.low, difference.high
        if low > margin or (claim.differ and high < -margin):
            answer = "holds"
        elif high < margin and (not claim.differ or low > -margin):
            answer = "does not hold"
    return Answered(claim=claim, answer=answer, difference=difference, seeds=len(pairs), unit=unit)
