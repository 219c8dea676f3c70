"""The protocol: the rows of a paper's table, how each is made and measured, and what the paper found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from surgeon.errors import RecipeError
from surgeon.merging import merge
from surgeon.methods.registry import describe
from surgeon.protocol.column import TIMES, VALUES, Column
from surgeon.recipe import Data, Evaluation, Recipe, Training, load_recipe, with_parts
from surgeon.strict import Prose, Strict

Text = Annotated[Prose, Field(max_length=2000)]
BUDGETS = ("paper", "small", "gpu", "smoke")
"""As the paper has it; hours on two processor cores; half an hour on one graphics card; a minute."""
BASELINE = "plain"
"""The recipe of a row without surgery."""


class Line(Strict):
    """One row of the table.

    Attributes:
        recipes: names of recipes, or recipes in place; applied in order.
        model: another network than the protocol's.
        model_args: its arguments.
        training: settings over those of the protocol and of the recipes.
        paper: column → the paper's figure, in its unit (per cent); None where it gives no figure.
        note: what differs from the paper's row.

    Examples:
        >>> Line(recipes=["kap"], training={"epochs": 5}, paper={"clean": 93.0}).paper["clean"]
        93.0
    """

    recipes: tuple[str | dict[str, Any], ...] = (BASELINE,)
    model: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    paper: dict[str, float | None] = Field(default_factory=dict)
    note: Text = ""


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

    Examples:
        >>> Claim(text="pooling resists more", row="KAP", against="NT", column="PGD", margin=1.0).columns
        ('PGD', 'PGD')
    """

    text: Text
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
        model: another network for every row that does not name one.
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

    Examples:
        >>> Budget(seeds=1, training={"epochs": 1}, rows=["NT"]).seeds
        1
    """

    note: Text = ""
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

    Examples:
        >>> from surgeon.protocol import Protocol
        >>> protocol = Protocol(
        ...     name="mine",
        ...     title="Accuracy",
        ...     paper="Somebody et al.",
        ...     place="Table 1",
        ...     model="zoo/lenet5",
        ...     data="digits",
        ...     columns={"clean": {"of": "clean"}, "PGD": {"of": "attack", "attack": "pgd-100"}},
        ...     rows={"stock": {"paper": {"clean": 99.0}}, "k-WTA": {"recipes": ["kwta"]}},
        ...     budgets={"smoke": {"seeds": 1, "columns": {"PGD": None}}},
        ... )
        >>> protocol.rows_of("smoke"), list(protocol.columns_of("smoke"))
        (('stock', 'k-WTA'), ['clean'])
        >>> protocol.named_by("k-WTA", "smoke"), [r.name for r in protocol.recipes_of("k-WTA", "smoke")]
        (('kwta',), ['kwta'])
        >>> protocol.network_of("stock", "smoke"), protocol.sources_of("stock", "smoke")
        (('zoo/lenet5', {}), ())
    """

    name: str
    title: Text
    paper: Text
    place: Text
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
                raise ValueError(f"{name!r} is not a budget; budgets are {', '.join(BUDGETS)}")
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

        Returns:
            The names.
        """
        chosen = self.budgets[budget].rows
        return tuple(r for r in self.rows if chosen is None or r in chosen)

    def columns_of(self, budget: str) -> dict[str, Column]:
        """Return what a budget measures of each row, in the order of the table.

        Args:
            budget: A name of `budgets`.

        Returns:
            The columns by name.
        """
        columns = {**self.columns, **self.budgets[budget].columns}
        return {name: column for name, column in columns.items() if column is not None}

    def named_by(self, row: str, budget: str) -> tuple[str | dict[str, Any], ...]:
        """Return the recipes of a row as its protocol writes them: names, or mappings that extend one.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.

        Returns:
            The recipes, in the order in which they are applied.
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

        Returns:
            The recipes, in the order in which they are applied.

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
        try:
            parts = {
                "training": Training.model_validate(training),
                "data": Data.model_validate(over.images) if over.images else None,
                "evaluation": Evaluation.model_validate(merge(self.evaluation, over.evaluation)),
            }
        except ValidationError as error:
            raise RecipeError(describe(error, Protocol)) from None
        return tuple(with_parts(r, **parts) for r in recipes)

    def sources_of(self, row: str, budget: str) -> tuple[str, ...]:
        """Return the rows whose networks are attacked in the place of this row's, in the order of the table.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.

        Returns:
            The names of the rows.
        """
        named = {c.source for c in self.columns_of(budget).values()}
        return tuple(r for r in self.rows_of(budget) if r in named and r != row)

    def network_of(self, row: str, budget: str) -> tuple[str, dict[str, Any]]:
        """Return the name and the arguments of a row's network.

        Args:
            row: A name of `rows`.
            budget: A name of `budgets`.

        Returns:
            The name, and the arguments.
        """
        line, over = self.rows[row], self.budgets[budget]
        if line.model in over.models:
            return over.models[line.model], over.model_args
        for model, given in ((line.model, line.model_args), (over.model, over.model_args)):
            if model is not None:
                return model, given
        return self.model, self.model_args
