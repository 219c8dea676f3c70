"""Plug-ins whose name is that of another operation are told of, and never taken in silence."""

import pytest
from click.testing import CliRunner

import surgeon
from surgeon.cli import group
from surgeon.errors import RecipeError
from surgeon.methods import registry


class Dist:
    def __init__(self, name):
        self.name, self.version = name, "1"


class Point:
    def __init__(self, name, package):
        self.name, self.value, self.dist = name, f"{package}:Op", Dist(package)

    def load(self):
        return registry._shipped()["identity"]


@pytest.fixture
def plugged(monkeypatch):
    def put(*points):
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        registry._points.cache_clear()

    yield put
    registry._points.cache_clear()


def test_a_plug_in_with_the_name_of_a_built_in_operation_is_told_of(plugged):
    plugged(Point("kap", "their-package"), Point("new-op", "their-package"))
    said = r"their-package has an operation 'kap' too, which is passed over: .* rename it in the entry points"
    with pytest.warns(UserWarning, match=said):
        assert registry.get("kap") is registry._shipped()["kap"]
    assert "their-package" in surgeon.operations()["kap"]
    assert registry.get("new-op") is registry._shipped()["identity"]
    shown = " ".join(CliRunner().invoke(group, ["recipes", "list"]).stdout.split())
    assert "operation kap" in shown and "their-package" in shown


def test_two_plug_ins_with_one_name_are_refused_by_it(plugged):
    plugged(Point("op", "first"), Point("op", "second"), Point("op", "first"))
    with pytest.raises(
        RecipeError, match=r"first and second each have an operation 'op', and neither is taken"
    ):
        registry.get("op")
    assert "first and second" in surgeon.operations()["op"]
    plugged(Point("op", "first"), Point("op", "first"))  # one package that is found at two places
    assert registry.get("op") is registry._shipped()["identity"] and not registry.clashes()
