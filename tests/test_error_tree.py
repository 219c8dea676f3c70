"""Errors: one root that is no ValueError, a class for each kind of fault, and classes of other packages that
survive."""

import ast
import copy
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
import torch
from click.testing import CliRunner
from pydantic import ValidationError, field_validator
from torch import nn

import surgeon
from surgeon import errors, strict_yaml
from surgeon.cli import group
from surgeon.errors import LayerError, RecipeError, SurgeonError, SurgeryError, line_of
from surgeon.methods import registry
from surgeon.methods.controls import Identity
from surgeon.recipe import Recipe, load_recipe

FILES = sorted(Path(surgeon.__file__).parent.rglob("*.py"))


def test_the_tree_in_the_docstring_is_the_tree():
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, SurgeonError)}
    drawn, parents = {}, []
    for line in errors.__doc__.split("\n\n")[1].splitlines():
        told = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)(\w+)", line)
        depth = len(told[1]) // 4
        parents[depth:] = [told[2]]
        drawn[told[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {n: c.__bases__[0].__name__ for n, c in classes.items()}


def test_no_error_is_one_that_libraries_raise_by_themselves():
    """Code that expects a library's error would hide surgeon's."""
    from surgeon.data.library import Refused
    from surgeon.pipeline.chain.checking import Misfit

    assert SurgeonError.__mro__ == (SurgeonError, Exception, BaseException, object)
    for error in (strict_yaml.YamlError, Refused, Misfit):
        assert issubclass(error, SurgeonError) and not issubclass(
            error, (ValueError, RuntimeError, TypeError)
        )


def test_every_error_is_raised_as_one_of_a_kind():
    bare = [
        f"{file.name}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SurgeonError"
    ]
    assert not bare


def test_no_error_is_made_again_by_its_class():
    again = [f.name for f in FILES if re.search(r"\btype\((error|e)\)\(", f.read_text(encoding="utf-8"))]
    assert not again


class TooWide(SurgeonError):
    """A class of another package: two arguments, and attributes."""

    def __init__(self, width: int, most: int) -> None:
        super().__init__(f"{width} channels are more than {most}")
        self.width, self.most = width, most


class Stubborn(SurgeonError):
    """A class of another package that writes its own text."""

    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Foreign(Exception):
    """Of another package, and no SurgeonError."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} is not {right}")


class Raising(Identity):
    """An operation that fails where its layer is made."""

    op: Literal["raising"] = "raising"
    how: Literal["wide", "stubborn", "foreign"] = "wide"

    @field_validator("how")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "stubborn":
            raise LayerError("stubborn layers are not made here")
        return value

    def build(self, edit, module, generator):
        raise {"wide": TooWide(64, 32), "foreign": Foreign(1, 2)}[self.how]


class Point:
    """An entry point of a package that is not installed."""

    value = "here:Raising"

    def load(self):
        return Raising


@pytest.fixture
def plugged(monkeypatch):
    monkeypatch.setattr(registry, "_plugged", lambda: {"raising": Point()})


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_class_of_another_package_keeps_its_class_attributes_and_gets_the_place(plugged):
    with pytest.raises(TooWide) as caught:
        surgeon.apply(network(), {"op": "raising"}, input_size=(3, 8, 8))
    assert (caught.value.width, caught.value.most) == (64, 32)
    assert str(caught.value) == "raising at 0: 64 channels are more than 32"


def test_an_error_that_is_none_of_surgeons_has_the_place_in_a_note(plugged):
    with pytest.raises(Foreign) as caught:
        surgeon.apply(network(), {"op": "raising", "how": "foreign"}, input_size=(3, 8, 8))
    assert str(caught.value) == "1 is not 2" and caught.value.__notes__ == ["raising at 0"]


def test_an_error_with_a_text_of_its_own_has_place_and_advice_in_its_line():
    error = Stubborn(code=3).at("kap at conv1").advising("use another")
    assert str(error) == "code 3"
    assert line_of(error) == "code 3; kap at conv1; use another"
    assert line_of(SurgeryError("two\nlines").at("here").advising("do this")) == "here: two lines; do this"


def test_places_stand_in_front_outermost_first():
    assert str(TooWide(2, 1).at("site").at("recipe")) == "recipe: site: 2 channels are more than 1"


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error", [TooWide(64, 32), Stubborn(code=3), strict_yaml.YamlError("bad", 3), LayerError("plain")]
)
def test_a_copy_is_the_same_error(copied, error):
    error = copy.deepcopy(error).at("kap at conv1").advising("use another")
    again = copied(error)
    assert type(again) is type(error) and again.args == error.args
    assert line_of(again) == line_of(error) and "kap at conv1" in line_of(again)
    assert vars(again) == vars(error)


def test_an_error_comes_back_from_another_process():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(strict_yaml.YamlError, match="line 1: anchors") as caught:
            pool.submit(strict_yaml.load, "a: &b 1").result(timeout=120)
    assert caught.value.line == 1


def test_pydantic_is_told_of_errors_by_their_place():
    with pytest.raises(ValidationError, match="unknown operation 'kapp'; did you mean 'kap'"):
        Recipe.model_validate({"name": "r", "surgery": ({"op": "kapp"},)})
    with pytest.raises(RecipeError, match="^Recipe: .*unknown operation 'kapp'; did you mean 'kap'"):
        Recipe(name="r", surgery=({"op": "kapp"},))
    with pytest.raises(RecipeError, match="unknown operation 'kapp'; did you mean 'kap'"):
        load_recipe({"surgery": [{"op": "kapp"}]})


def test_a_validator_of_another_package_may_raise_an_error_of_surgeon(plugged):
    wanted = {"op": "raising", "how": "stubborn"}
    with pytest.raises(LayerError, match="^operation 'raising': stubborn layers are not made here$"):
        registry.parse(wanted)
    with pytest.raises(LayerError, match="^raising: operation 'raising': stubborn layers are not made here$"):
        load_recipe({"surgery": [wanted]})
    with pytest.raises(RecipeError, match="operation 'raising': stubborn layers are not made here"):
        Recipe(name="r", surgery=(wanted,))


def test_the_command_line_tells_an_error_of_another_package_in_one_line(plugged, tmp_path):
    recipe = tmp_path / "raising.yaml"
    recipe.write_text("surgery:\n  - op: raising\n")
    done = CliRunner().invoke(
        group, ["apply", str(recipe), "resnet18", "--input-size", "3,32,32", "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 2
    assert done.output.strip().splitlines()[-1].endswith("raising at conv1: 64 channels are more than 32")
    assert "Traceback" not in done.output


def test_a_network_that_raises_is_not_taken_for_one_of_librarys_errors():
    """One calibration image has no spread for torch's batch norms, which is a ValueError; a layer's own
    error is told as it is."""
    from surgeon.models.norm_statistics import reestimate_statistics

    class Refusing(nn.Module):
        def forward(self, x):
            raise LayerError("this layer takes other images")

    with pytest.raises(LayerError, match="^this layer takes other images$"):
        reestimate_statistics(nn.Sequential(nn.BatchNorm2d(3), Refusing()), torch.rand(1, 3, 4, 4))
