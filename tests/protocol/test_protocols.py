"""The shipped protocols: whole, and each of their rows can be made at each budget."""

import re
from pathlib import Path

import pytest
import torch

from surgeon import strict_yaml
from surgeon.errors import RecipeError
from surgeon.models import create_model
from surgeon.models.facts import input_size_of
from surgeon.pipeline.reproducing import place_of
from surgeon.protocol import Column, load_protocol, protocol_names
from surgeon.protocol.column import TIMES
from surgeon.recipe import Training

NAMES = protocol_names()
METHODS = {"kap", "anl", "weight-map", "defective"}
NOT_AT_HAND = {"imagenet", "tiny-imagenet", "iwildcam2019"}
RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


def test_every_paper_has_a_protocol():
    assert {n.split("/")[0] for n in NAMES} >= METHODS


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_is_whole(name):
    found = load_protocol(name)
    assert found.name == name and {"paper", "smoke"} <= set(found.budgets)
    assert found.claims or all(c.of in TIMES for c in found.columns.values())
    assert ("small" in found.budgets) == (found.data not in NOT_AT_HAND)
    assert found.budgets["paper"].rows is None and found.budgets["paper"].model is None
    for budget in found.budgets:
        assert found.columns_of(budget)
        for row in found.rows_of(budget):
            assert found.recipes_of(row, budget)[-1].training.epochs > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_folder_of_its_own_and_a_network_that_is_known(name):
    found = load_protocol(name)
    assert len({place_of(Path(), row, 0) for row in found.rows}) == len(found.rows)
    models = {
        (model, tuple(sorted((k, str(v)) for k, v in args.items()))): args
        for budget in found.budgets
        for row in found.rows_of(budget)
        for model, args in [found.network_of(row, budget)]
    }
    for (model, _), args in models.items():
        with torch.device("meta"):
            assert create_model(model, model_args=args) is not None


SIDES = {"torch/cifar10": 32, "torch/cifar100": 32, "torch/mnist": 28, "torch/fashion_mnist": 28}


@pytest.mark.parametrize("name", NAMES)
def test_images_are_read_at_their_own_size(name):
    """A stock network says 224×224, at which small images would be trained on enlarged."""
    found, sizes = load_protocol(name), {}
    for budget in set(found.budgets) - {"smoke"}:
        over = found.budgets[budget]
        side = SIDES.get(over.data or found.data)
        for model, _ in (found.network_of(row, budget) for row in found.rows_of(budget) if side):
            if model not in sizes:
                sizes[model] = input_size_of(create_model(model))
            assert (over.input_size or sizes[model])[1:] == (side, side), (budget, model)


def test_a_claim_can_be_answered_at_some_budget_besides_the_papers():
    """At least one claim of every protocol that has claims and images for them."""
    for name in NAMES:
        found = load_protocol(name)
        for budget in {"small", "gpu"} & set(found.budgets) if found.claims else ():
            rows, columns = set(found.rows_of(budget)), found.columns_of(budget)
            assert any({c.row, c.against} <= rows and c.column in columns for c in found.claims), (
                name,
                budget,
            )


def test_the_list_of_tables_and_figures_names_every_protocol():
    listed = RESULTS.read_text(encoding="utf-8").split("## All tables and figures")[1].split("\n## ")[0]
    assert set(re.findall(r"`((?:kap|anl|weight-map|defective|all)/[^`]+)`", listed)) == set(NAMES)


def test_a_protocol_extends_another_key_by_key(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("extends: kap/table1\nrows:\n  NT:\n    paper: {clean: 1.0}\n", encoding="utf-8")
    found, base = load_protocol(path), load_protocol("kap/table1")
    assert found.name == "own" and found.rows["NT"].paper == {**base.rows["NT"].paper, "clean": 1.0}
    assert found.budgets == base.budgets and list(found.rows) == list(base.rows)


def test_protocols_that_extend_one_another_in_a_circle_are_refused(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(f"extends: {other}\n", encoding="utf-8")
    other.write_text(f"extends: {one}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="circle"):
        load_protocol(one)


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


CALM = {"name": "calm", "surgery": [], "training": {"lr": 0.1, "weight_decay": 0.0005}}


def test_settings_come_from_protocol_recipe_row_and_budget_in_this_order(tmp_path):
    path = write(
        tmp_path,
        training={"lr": 0.3, "epochs": 7, "momentum": 0.5, "weight_decay": 0.1},
        rows={"a": {"recipes": [CALM], "training": {"momentum": 0.7, "batch_size": 8}}},
        budgets={"smoke": {"training": {"batch_size": 4}}},
    )
    (recipe,) = load_protocol(path).recipes_of("a", "smoke")
    found = recipe.training
    assert (found.epochs, found.lr, found.weight_decay) == (7, 0.1, 0.0005)  # the last two by the recipe
    assert (found.momentum, found.batch_size) == (0.7, 4)


def test_a_baseline_is_trained_as_its_protocol_says(tmp_path):
    """The recipe plain has SGD at 0.1, beside which a paper's Adam at 0.001 would be another experiment."""
    training = {"optimizer": "adam", "lr": 0.001, "weight_decay": 0.0}
    for row in ({}, {"recipes": ["plain"]}):
        (recipe,) = load_protocol(write(tmp_path, training=training, rows={"a": row})).recipes_of(
            "a", "smoke"
        )
        found = recipe.training
        assert (found.optimizer, found.lr, found.weight_decay, found.momentum) == ("adam", 0.001, 0.0, 0.9)


@pytest.mark.parametrize("name", NAMES)
def test_no_baseline_has_another_procedure_than_its_protocol(name):
    found = load_protocol(name)
    for row, line in found.rows.items():
        if line.recipes == ("plain",):
            training = found.recipes_of(row, "paper")[-1].training.model_dump(mode="json")
            own = {**found.training, **line.training, **found.budgets["paper"].training}
            told = Training.model_validate(own).model_dump(mode="json", exclude_unset=True)
            assert {k: training[k] for k in own} == told, row


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rows": {"a": {"recipes": ["kapp"]}}}, "kap"),
        ({"rows": {"a": {"training": {"lr": -1}}}}, "lr"),
        ({"rows": {"a": {"paper": {"cleen": 1.0}}}}, "cleen"),
        ({"claims": [{"text": "t", "row": "a", "against": "c", "column": "clean"}]}, "'c'"),
        ({"claims": [{"text": "t", "row": "a", "against": "b", "column": "PGD"}]}, "PGD"),
        ({"claims": [{"text": "t", "row": "a", "against": "a", "column": "clean", "than": "PGD"}]}, "PGD"),
        (
            {
                "columns": {"clean": {"of": "clean"}, "std": {"of": "deviation", "layer": "conv1"}},
                "claims": [{"text": "t", "row": "a", "against": "a", "column": "clean", "than": "std"}],
            },
            "another kind",
        ),
        ({"budgets": {"smoke": {"rows": ["c"]}}}, "'c'"),
        ({"budgets": {"smoke": {"columns": {"PGD": None}}}}, "PGD"),
        ({"budgets": {"tiny": {}}}, "tiny"),
        ({"columns": {"PGD": {"of": "attack"}}}, "attack"),
        ({"columns": {"u": {"of": "uniform"}}}, "level"),
        ({"columns": {"t": {"of": "attack", "attack": "a", "source": "c"}}}, "transfers from"),
        ({"budgets": {"smoke": {"models": {"zoo/vgg16": "zoo/lenet5"}}}}, "zoo/vgg16"),
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
