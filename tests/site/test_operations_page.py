"""The tables of the page "A method of your own" are those of the code."""

import inspect
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from surgeon.errors import ArgumentError, nearest
from surgeon.methods import Operation
from surgeon.results.kinds import KINDS
from surgeon.results.threat import Attack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def cells_of(text, first):
    """The rows of the table whose heading begins with a cell, by their own first cell."""
    lines = iter(line.strip() for line in text.splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines:
        if not line.startswith("|"):
            break
        name, *cells = (c.strip().replace("`", "") for c in line.strip("|").split("|"))
        rows[name] = cells
    return {name: cells for name, cells in rows.items() if name.strip("-")}


@pytest.mark.parametrize(("text", "first"), [(PAGE, "`kind`"), (Attack.__doc__, "kind")])
def test_the_tables_of_attacks_have_every_kind_and_what_it_needs(text, first):
    rows = cells_of(text, first)
    assert list(rows) == list(KINDS)
    for name, kind in KINDS.items():
        norms, eps, needs, *more = rows[name]
        assert norms.split(", ") == list(kind.norms) and eps == ("yes" if kind.bounded else "None"), name
        assert ("gradients" in needs) == kind.gradients, name
        assert (f"{kind.classes} classes" in needs) == (kind.classes > 2), name
        assert all(f"{norm}: square images of {side}" in needs for norm, side in kind.side), name
        if more:
            settings, libraries = more
            assert [s for s in settings.split(", ") if s != "–"] == list(kind.settings), name
            named = dict(kind.package)
            assert all(named.get(norm, "surgeon") in libraries for norm in kind.norms), name


def test_an_unknown_kind_is_told_all_of_them():
    with pytest.raises(ArgumentError, match="no attack is of the kind 'zzz'; valid: ") as caught:
        Attack(name="a", kind="zzz", eps=0.1)
    assert all(repr(kind) in str(caught.value) for kind in KINDS) and "…" not in str(caught.value)
    assert nearest("zzz", map(str, range(9))).endswith(", …")


def test_the_table_of_class_attributes_has_each_with_its_default():
    rows = cells_of(PAGE, "attribute")
    declared = {
        name: getattr(Operation, name)
        for name, hint in Operation.__annotations__.items()
        if "ClassVar" in str(hint)
    }
    assert len(declared) > 5 and {name: cells[0] for name, cells in rows.items()} == {
        name: f'"{default}"' if isinstance(default, str) else str(default)
        for name, default in declared.items()
    }


def test_what_a_layer_may_say_of_itself_is_what_the_graphs_ask():
    asked = re.compile(
        r"""(?:getattr|hasattr)\((?:module|layer|m), "(of_\w+|traced_\w+|switched_\w+|after)\""""
    )
    there = {
        n for file in (ROOT / "surgeon" / "graph").rglob("*.py") for n in asked.findall(file.read_text())
    }
    assert there == {re.match(r"\w+", name)[0] for name in cells_of(PAGE, "of the layer")}


def test_each_question_to_an_operation_is_on_the_page():
    """All but those that a class must answer, which have sections of their own."""
    asked = {
        name
        for name, method in vars(Operation).items()
        if inspect.isfunction(method) or isinstance(method, classmethod)
    }
    mine = {name for name in asked if not name.startswith("_") and not hasattr(BaseModel, name)}
    assert len(mine) > 15 and {
        name for name in mine if f"`{name}`" not in PAGE and f"`{name}(" not in PAGE
    } <= {"chosen"}
