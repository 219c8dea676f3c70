"""Every public name has a docstring and a place in the reference; every room with public names is one that
the reference knows."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import public  # noqa: E402  # docs/site/ is of the site's build, no package of this one


@pytest.mark.parametrize("package", public.DOCUMENTED)
def test_every_public_name_has_a_docstring(package):
    assert importlib.import_module(package).__doc__
    silent = [name for name in public.names(package) if not told(package, name)]
    assert not silent, f"{package}: no docstring: {silent}"


def told(package, name):
    """Whether the object's own definition has a docstring: not one of its class's or its base's."""
    value = getattr(importlib.import_module(package), name)
    value = getattr(value, "__wrapped__", value)
    if isinstance(value, type) or inspect.isroutine(value):
        return bool(vars(value).get("__doc__") if isinstance(value, type) else value.__doc__)
    module, constant = public.origin_of(package, name).rsplit(".", 1)
    text = Path(importlib.import_module(module).__file__).read_text(encoding="utf-8")
    return after(text, constant)


def after(text, constant):
    """Whether a string stands right behind the assignment."""
    body = ast.parse(text).body
    for one, two in zip(body, body[1:], strict=False):
        names = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
        if any(
            n.id == constant for t in names if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)
        ):
            return (
                isinstance(two, ast.Expr)
                and isinstance(two.value, ast.Constant)
                and isinstance(two.value.value, str)
            )
    return False


def test_every_room_with_public_names_is_in_the_reference_or_known_as_internal():
    having = set()
    for path in (ROOT / "surgeon").rglob("*.py"):
        if re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.M):
            parts = path.relative_to(ROOT).with_suffix("").parts
            having.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert having <= {*public.DOCUMENTED, *public.INTERNAL}, having - {*public.DOCUMENTED, *public.INTERNAL}


def test_the_files_that_the_guides_name_are_there():
    """Paths such as `surgery/choice.py`, from the checkout, the package or the tests."""
    missing = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)\b", page.read_text(encoding="utf-8")):
            places = [
                ROOT / b / path for b in ("", "surgeon", "surgeon/evaluation", "tests", "tests/interop")
            ]
            if not any(p.is_file() for p in places):
                missing.append(f"{page.name}: {path}")
    assert not missing


def test_the_walk_in_the_architecture_names_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"```mermaid\n(.*?)```", text, re.S).group(1)
    named = re.findall(r"(\w+\.py)", drawn)
    assert len(named) >= 10
    assert not [n for n in named if not (ROOT / "surgeon" / "surgery" / n).is_file()]


def test_every_room_is_in_the_tree_of_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```\ncli\.py(.*?)```", text, re.S).group(1)
    rooms = {
        p.name for p in (ROOT / "surgeon").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    assert not [r for r in sorted(rooms - {"__init__.py", "__main__.py"}) if r not in tree]
