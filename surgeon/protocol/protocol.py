"""The protocol: the rows of a paper's table, how each is made and measured, and what the paper found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from surgeon.merging import merge
from surgeon.quantities import Quantity
from surgeon.recipe import Data, Evaluation, Recipe, Training, load_recipe, with_parts
from surgeon.strict import Prose, Strict

Told = Annotated[Prose, Field(max_length=2000)]
BUDGETS = ("paper", "small", "gpu", "smoke")
"""As the paper has it; hours on two processor cores; half an hour on one graphics card; a minute."""
BASELINE = "plain"
"""The recipe of a row without surgery."""
CURVES = ("gaussian", "uniform", "patches")
TIMES = {"epoch": "s", "batch": "ms"}
"""Columns that are times, with their unit."""
ON_LAYERS = ("amplification", "deviation", "gradient-similarity")
"""Columns that are measured at a layer of the trained network, and not read off its evaluation."""
VALUES = ("distance", *ON_LAYERS)
"""Columns that are numbers of their own, neither shares of the images nor times."""
Of = Literal[
    "clean",
    "worst",
    "itself",
    "uncut",
    "attack",
    "gaussian",
    "uniform",
    "patches",
    "certified",
    "noise",
    "epoch",
    "batch",
    "distance",
    "amplification",
    "deviation",
    "gradient-similarity",
]
_FIRST = ("of", "attack", "norm", "eps", "level", "error")


class Column(Strict):
    """What is measured of each row: a share of the test images, a time, or a number of its own.

    Attributes:
        of: `clean`: without an attack. `worst`: under every attack of the main threat, those from the record of
            a surgery included. `itself`: the same without those, of the size `eps` if that is given. `uncut`:
            `worst` of the network before the surgery. `attack`: under one attack alone. `gaussian`, `uniform`,
            `patches`: a point of that curve. `certified`: certified by smoothing within an L2 radius. `noise`: right
            on the adversarial images once noise of σ = 0.1 is added to them. `epoch`: seconds that an epoch of
            training takes. `batch`: milliseconds of inference for 64 images. `distance`: the median over all images of
            the smallest distance at which `attack` turns them, in [0, 1] pixels; 0 for one that is wrong as it is.
            At `layer` of the trained network, in evaluation mode: `amplification`: the mean variance over the images of
            its output over that of its input, index by index. `deviation`: the standard deviation of its output over
            images, channels and space. `gradient-similarity`: the mean cosine between the gradients of the loss by its
            output, of images of two classes.
        attack: the attack's name, of `attack` and `distance`.
        source: the row whose network was attacked in this one's place, of `attack` (a transfer). The row itself has no
            such figure.
        norm: the norm, of `attack`, `itself` and `distance`; None for any, but that of a distance.
        eps: the size in [0, 1] pixels, of `attack` and `itself`; None for any. Under an attack for the smallest
            distance an image stands that is turned beyond it.
        level: the point on a curve: σ, the bound of the noise, patches per side, the certified radius in pixels.
        sigma: σ of the smoothing, of `certified`.
        at: where the noise is added, of `noise`.
        layer: the layer's name in the network, of `amplification`, `deviation` and `gradient-similarity`.
        classes: a class, and the classes whose images are compared with its own, of `gradient-similarity`; of several
            the mean.
        error: the paper prints errors, 100 less the accuracy.
    """

    of: Of
    attack: str | None = None
    source: str | None = None
    norm: str | None = None
    eps: Quantity | None = None
    level: float | None = None
    sigma: float | None = None
    at: Literal["nowhere", "input", "activations", "both"] | None = None
    error: bool = False
    layer: str | None = None
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Column:
        if (self.of in ("attack", "distance")) != (self.attack is not None):
            raise ValueError("attack=NAME belongs to of=attack and of=distance, which need it")
        if self.source is not None and self.of != "attack":
            raise ValueError("source=ROW belongs to of=attack")
        if (self.of in (*CURVES, "certified")) != (self.level is not None):
            raise ValueError(
                "level belongs to a point of a curve (gaussian, uniform, patches, certified), which needs it"
            )
        if (self.of == "certified") != (self.sigma is not None):
            raise ValueError("sigma, of the smoothing, belongs to of=certified, which needs it")
        if (self.of == "noise") != (self.at is not None):
            raise ValueError("at=PLACE belongs to of=noise, which needs it")
        sizes = (self.norm, self.eps) if self.of != "distance" else (self.eps,)
        if self.of not in ("attack", "itself") and any(size is not None for size in sizes):
            raise ValueError("norm and eps belong to of=attack and of=itself, norm to of=distance too")
        if self.of == "distance" and self.norm is None:
            raise ValueError("norm, in which it is measured, belongs to of=distance, which needs it")
        if (self.of in ON_LAYERS) != (self.layer is not None):
            raise ValueError(f"layer=NAME belongs to of={', of='.join(ON_LAYERS)}, which need it")
        if (self.of == "gradient-similarity") != (self.classes is not None and len(self.classes) > 1):
            raise ValueError("classes=[ONE, OTHER, …] belongs to of=gradient-similarity, which needs it")
        if self.error and self.unit != "%":
            raise ValueError(
                f"of={self.of} is {'a time' if self.of in TIMES else 'a number'}, which has no error"
            )
        return self

    @property
    def unit(self) -> str:
        """`%` of a share of the images; the unit of a time; "" of another number."""
        return TIMES.get(self.of, "" if self.of in VALUES else "%")

    @property
    def identity(self) -> dict[str, Any]:
        """What tells one column from another, for the hash of a run's settings.

        Fields after the first six are part of it only where they are set, so that a new field leaves the hash of runs
        that were made without it as it was.
        """
        return {k: v for k, v in self.model_dump(mode="json").items() if v is not None or k in _FIRST}


class Line(Strict):
    """One row of the table.

    Attributes:
        recipes: names of recipes, or recipes in place; applied in order.
        model: another network than the protocol's.
        model_args: its arguments.
        training: settings over those of the protocol and of the recipes.
        paper: column → the paper's figure, in its unit (per cent); None where it has none.
        note: what differs from the paper's row.
    """

    recipes: tuple[str | dict[str, Any], ...] = (BASELINE,)
    model: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    paper: dict[str, float | None] = Field(default_factory=dict)
    note: Told = ""


class Claim(Strict):
    """A sentence of the paper as a comparison of two rows, or of two columns.

    Attributes:
        text: the sentence, in words of our own.
        row: the row that it praises.
        against: the row that it is compared with; None compares with the network before the surgery.
        column: what is compared.
        than: the column of `against`, where it is another one than `column`.
        margin: the least difference that the sentence means, in percentage points, or in the column's own unit.
        differ: the sentence means a difference of at least the margin in either direction.
    """

    text: Told
    row: str
    against: str
    column: str
    than: str | None = None
    margin: float = Field(default=0.0, ge=0, le=100)
    differ: bool = False

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of `row` and of `against`."""
        return self.column, self.than or self.column


class Budget(Strict):
    """What a protocol is run with.

    Attributes:
        note: what differs from the paper.
        model: another network for every row that names none.
        model_args: its arguments, and those of `models`.
        models: network of a row → the one in its place.
        data: another source of images.
        images: which of them (`surgeon.recipe.Data`).
        input_size: (C, H, W) of an image, where the network is also made for other images.
        seeds: how many, from 0.
        training: settings over all others.
        mixed_precision: of the training.
        evaluation: settings over the protocol's.
        rows: the rows that are run; by default all.
        columns: columns that are measured in another way; None for one that is not measured.
    """

    note: Told = ""
    model: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    data: str | None = None
    images: dict[str, Any] = Field(default_factory=dict)
    input_size: tuple[int, int, int] | None = None
    seeds: int = Field(default=3, ge=1, le=100)
    training: dict[str, Any] = Field(default_factory=dict)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    evaluation: dict[str, Any] = Field(default_factory=dict)
    rows: tuple[str, ...] | None = None
    columns: dict[str, Column | None] = Field(default_factory=dict)


class Protocol(Strict):
    """The experiment of one table or figure.

    Attributes:
        name: its name, such as `kap/table1`.
        title: what it shows.
        paper: authors, title, number.
        place: the table or figure, and its page or section.
        model: the paper's network.
        model_args: its arguments.
        prepared: recipes that make it fit the images, before each row's own.
        data: the paper's images, as a source that `surgeon train` takes.
        training: how every row is trained, where its recipes do not say otherwise.
        evaluation: how every row is attacked.
        columns: what is measured.
        rows: the table.
        claims: what the paper says of it.
        budgets: what it is run with.
    """

    name: str
    title: Told
    paper: Told
    place: Told
    model: str
    model_args: dict[str, Any] = Field(default_factory=dict)
    prepared: tuple[str, ...] = ()
    data: str
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    columns: dict[str, Column] = Field(min_length=1)
    rows: dict[str, Line] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    budgets: dict[str, Budget] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Protocol:
        for claim in self.claims:
            for row in (claim.row, claim.against):
                if row not in self.rows:
                    raise ValueError(
                        f"the claim {claim.text!r} names the row {row!r}; there are {list(self.rows)}"
                    )
            for column in claim.columns:
                if column not in self.columns:
                    raise ValueError(
                        f"the claim {claim.text!r} names the column {column!r}; there are {list(self.columns)}"
                    )
                if self.columns[column].of in TIMES:
                    raise ValueError(
                        f"the claim {claim.text!r} is on {column!r}, a time; claims compare shares and numbers"
                    )
            kinds = {self.columns[c].of if self.columns[c].of in VALUES else "share" for c in claim.columns}
            if len(kinds) > 1:
                raise ValueError(
                    f"the claim {claim.text!r} compares {claim.column!r} with {claim.than!r}, which is of another kind"
                )
        for name, line in self.rows.items():
            unknown = sorted(set(line.paper) - set(self.columns))
            if unknown:
                raise ValueError(
                    f"row {name!r} has figures of {unknown}; the columns are {list(self.columns)}"
                )
        for name, budget in self.budgets.items():
            if name not in BUDGETS:
                raise ValueError(f"{name!r} is no budget; budgets are {', '.join(BUDGETS)}")
            unknown = sorted(set(budget.rows or ()) - set(self.rows))
            if unknown:
                raise ValueError(f"budget {name} runs {unknown}; the rows are {list(self.rows)}")
            unknown = sorted(set(budget.columns) - set(self.columns))
            if unknown:
                raise ValueError(f"budget {name} measures {unknown}; the columns are {list(self.columns)}")
            rows = self.rows_of(name)
            absent = [c.source for c in self.columns_of(name).values() if c.source and c.source not in rows]
            if absent:
                raise ValueError(f"budget {name} transfers from {absent}; its rows are {list(rows)}")
            unused = sorted(set(budget.models) - {line.model for line in self.rows.values() if line.model})
            if unused:
                raise ValueError(f"budget {name} has others in place of {unused}, which no row names")
        return self

    def rows_of(self, budget: str) -> tuple[str, ...]:
        """Return the names of the rows that a budget runs, in the order of the table.

        Args:
            budget: A name of `budgets`.
        """
        chosen = self.budgets[budget].rows
        return tuple(r for r in self.rows if chosen is None or r in chosen)

    def columns_of(self, budget: str) -> dict[str, Column]:
        """Return what a budget measures of each row, in the order of the table.

        Args:
            budget: A name of `budgets`.
        """
        found = {**self.columns, **self.budgets[budget].columns}
        return {name: column for name, column in found.items() if column is not None}

    def named_by(self, row: str, budget: str) -> tuple[str | dict[str, Any], ...]:
        """Return the recipes of a row as its protocol writes them: names, or mappings that extend one.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.
        """
        line, over = self.rows[row], self.budgets[budget]
        prepared = self.prepared if line.model is None and over.model is None else ()
        return (*prepared, *line.recipes)

    def recipes_of(self, row: str, budget: str) -> tuple[Recipe, ...]:
        """Return the recipes of a row as a budget runs them, the last with training, images and evaluation.

        Settings of a training come, from the weakest to the strongest, from the protocol, the row's recipes, the
        row, and the budget. The recipe `plain` is the network as it is: it says nothing against the protocol, so that a
        paper's baseline is trained as its other rows are.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.

        Raises:
            RecipeError: a recipe is unknown, or settings do not fit together.
        """
        line, over = self.rows[row], self.budgets[budget]
        recipes = [load_recipe(r) for r in self.named_by(row, budget)]
        training: Mapping[str, Any] = dict(self.training)
        for recipe in recipes:
            if recipe.training is not None:
                said = recipe.training.model_dump(mode="json", exclude_unset=True)
                training = merge(training, merge(said, self.training) if recipe.name == BASELINE else said)
        training = merge(merge(training, line.training), over.training)
        parts = {
            "training": Training.model_validate(training),
            "data": Data.model_validate(over.images) if over.images else None,
            "evaluation": Evaluation.model_validate(merge(self.evaluation, over.evaluation)),
        }
        return tuple(with_parts(r, **parts) for r in recipes)

    def sources_of(self, row: str, budget: str) -> tuple[str, ...]:
        """Return the rows whose networks are attacked in the place of this row's, in the order of the table.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.
        """
        named = {c.source for c in self.columns_of(budget).values()}
        return tuple(r for r in self.rows_of(budget) if r in named and r != row)

    def network_of(self, row: str, budget: str) -> tuple[str, dict[str, Any]]:
        """Return the name and the arguments of a row's network.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.
        """
        line, over = self.rows[row], self.budgets[budget]
        if line.model in over.models:
            return over.models[line.model], over.model_args
        for model, given in ((line.model, line.model_args), (over.model, over.model_args)):
            if model is not None:
                return model, given
        return self.model, self.model_args
