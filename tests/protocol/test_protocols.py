"""The shipped protocols: whole, and each of their rows can be made at each budget."""

import pytest

from surgeon import strict_yaml
from surgeon.errors import RecipeError
from surgeon.protocol import Column, load_protocol, protocol_names

NAMES = protocol_names()
METHODS = {"kap", "anl", "weight-map", "defective"}


def test_every_paper_has_a_protocol():
    assert {n.split("/")[0] for n in NAMES} >= METHODS


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_is_whole(name):
    found = load_protocol(name)
    assert found.name == name and found.claims and {"paper", "small", "smoke"} <= set(found.budgets)
    assert found.budgets["paper"].rows is None and found.budgets["paper"].model is None
    for budget in found.budgets:
        assert found.columns_of(budget)
        for row in found.rows_of(budget):
            assert found.recipes_of(row, budget)[-1].training.epochs > 0


def write(tmp_path, **changes):
    content = {
        "title": "t",
        "paper": "p",
        "place": "Table 1",
        "model": "zoo/lenet5",
        "data": "digits",
        "columns": {"clean": {"of": "clean"}},
        "rows": {"a": {}, "b": {"recipes": ["kap"]}},
        "budgets": {"smoke": {}},
    }
    path = tmp_path / "own.yaml"
    path.write_text(strict_yaml.dump({**content, **changes}))
    return path


def test_settings_come_from_protocol_recipe_row_and_budget_in_this_order(tmp_path):
    path = write(
        tmp_path,
        training={"lr": 0.3, "epochs": 7, "momentum": 0.5, "weight_decay": 0.1},
        rows={"a": {"recipes": ["plain"], "training": {"momentum": 0.7, "batch_size": 8}}},
        budgets={"smoke": {"training": {"batch_size": 4}}},
    )
    (recipe,) = load_protocol(path).recipes_of("a", "smoke")
    found = recipe.training
    assert (found.epochs, found.lr, found.weight_decay) == (7, 0.1, 0.0005)  # the last two by plain.yaml
    assert (found.momentum, found.batch_size) == (0.7, 4)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rows": {"a": {"recipes": ["kapp"]}}}, "kap"),
        ({"rows": {"a": {"training": {"lr": -1}}}}, "lr"),
        ({"rows": {"a": {"paper": {"cleen": 1.0}}}}, "cleen"),
        ({"claims": [{"text": "t", "row": "a", "against": "c", "column": "clean"}]}, "'c'"),
        ({"claims": [{"text": "t", "row": "a", "against": "b", "column": "PGD"}]}, "PGD"),
        ({"budgets": {"smoke": {"rows": ["c"]}}}, "'c'"),
        ({"budgets": {"smoke": {"columns": {"PGD": None}}}}, "PGD"),
        ({"budgets": {"tiny": {}}}, "tiny"),
        ({"columns": {"PGD": {"of": "attack"}}}, "attack"),
        ({"columns": {"u": {"of": "uniform"}}}, "level"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_trained(tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said):
        load_protocol(write(tmp_path, **changes))


def test_a_name_that_is_none_is_told_with_the_nearest():
    with pytest.raises(RecipeError, match="kap/table1"):
        load_protocol("kap/tabel1")


def test_a_column_of_an_attack_names_it():
    assert Column(of="attack", attack="fgsm", eps="8/255").eps == pytest.approx(8 / 255)
