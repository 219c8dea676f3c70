"""The recipe: a named list of operations, and how to train and attack their result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, field_validator

from surgeon import html
from surgeon.errors import as_value_errors
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.recipe.evaluation import Evaluation
from surgeon.recipe.images import Data
from surgeon.recipe.training import Training
from surgeon.strict import Prose, Strict

TEXT_LENGTH = 1000
"""The most characters of a title, of a paper and of a source."""
Text = Annotated[Prose, Field(max_length=TEXT_LENGTH)]
NAME = r"^[\w(][\w .,+#()\-]*$"
"""Characters of a recipe's name."""
PARTS = ("training", "data", "evaluation")
"""The parts of a recipe beside its surgery."""


class Recipe(Strict):
    """A named list of operations, with its paper and the source of its settings.

    Attributes:
        name: The name that the record states.
        title: One line of what it does.
        paper: The paper that it follows.
        source: Where the settings come from: table, section, or this project.
        surgery: The operations, in order; an empty list trains the network as it is.
        training: How to train, or None.
        data: Which images to use, or None.
        evaluation: How to attack the result, or None.

    Examples:
        >>> import surgeon
        >>> [operation.name for operation in surgeon.load_recipe("kap").surgery]
        ['kap']
    """

    name: str = Field(max_length=400, pattern=NAME)
    title: Text = ""
    paper: Text = ""
    source: Text = Field(
        default="", description="where the settings come from: table, section, or this project"
    )
    surgery: tuple[SerializeAsAny[Operation], ...] = Field(
        description="an empty list trains the network as it is"
    )
    training: Training | None = None
    data: Data | None = None
    evaluation: Evaluation | None = None

    @field_validator("surgery", mode="before")
    @classmethod
    def _operations(cls, value: object) -> tuple[Operation, ...]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("surgery must be a list of operations")
        with as_value_errors():
            return tuple(v if isinstance(v, Operation) else parse(v) for v in value)

    def _repr_html_(self) -> str:
        """Show every setting that differs from its default, in a notebook."""
        sources = {"title": self.title, "paper": self.paper, "source": self.source}
        rows = [(k, v) for k, v in sources.items() if v]
        for number, operation in enumerate(self.surgery, 1):
            own = operation.model_dump(mode="json", exclude_defaults=True)
            rows.append((f"operation {number}", f"{operation.name} {_settings(own)}"))
        for name in PARTS:
            part = getattr(self, name)
            if part is not None:
                rows.append((name, _settings(part.model_dump(mode="json", exclude_defaults=True))))
        return html.table(rows, caption=f"recipe {self.name}")


def _settings(values: Mapping[str, Any]) -> str:
    """Write settings as `key=value`, separated by commas."""
    return ", ".join(f"{k}={v}" for k, v in values.items() if k != "op")
