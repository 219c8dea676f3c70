"""A recipe whose settings were changed does not claim the source of the old ones: it names what differs."""

import json

import pytest

from surgeon.ownership import claim
from surgeon.pipeline.runs_of_protocol import settings_of
from surgeon.protocol import load_protocol
from surgeon.recipe import Training, available, dump, load_recipe, with_parts
from surgeon.recipe.retelling import without_prose
from surgeon.strict_yaml import load
from tests.cli.commandline import invoke

KAP = load_recipe("kap")


@pytest.mark.parametrize(
    ("recipe", "settings", "told"),
    [
        ("kap", ["kap.kernel_size=5"], "kap.kernel_size=5"),
        ({"extends": "kap", "surgery": [{"op": "kap", "kernel_size": 5}]}, [], "kap.kernel_size=5"),
        ({"extends": "kap", "training": {"lr": 0.5}}, [], "training.lr=0.5"),
        ({"extends": "kap", "surgery": [{"op": "noise"}]}, [], "noise"),
        ({"extends": "kap", "data": {"classes": ["a", "b"]}}, [], 'data.classes=["a", "b"]'),
        ("kap", ["kap.select.stages=[1]", "training.flip=true"], "kap.select.stages=[1], training.flip=true"),
    ],
)
def test_changed_settings_are_named_in_title_and_source(recipe, settings, told):
    found = load_recipe(recipe, settings)
    assert found.source == f"{told}; all else: {KAP.source}" and found.title == f"{KAP.title}; with {told}"
    assert found.paper == KAP.paper


def test_a_setting_of_a_recipe_in_memory_and_one_after_another_are_named_too():
    once = load_recipe(KAP, ["kap.kernel_size=5"])
    assert once.source.startswith("kap.kernel_size=5; all else: K=3")
    assert load_recipe(once, ["kap.kernel_size=5"]) == once
    assert load_recipe(once, ["kap.sigma=0.2"]).source.startswith(
        "kap.sigma=0.2; all else: kap.kernel_size=5;"
    )
    assert load_recipe(load(dump(once))) == once


def test_what_changes_nothing_changes_no_word():
    same = {"extends": "kap", "name": "kap", "surgery": [{"op": "kap", "kernel_size": 3}]}
    for found in (load_recipe("kap", ["kap.sigma=0.1", "training.epochs=10"]), load_recipe(same)):
        assert (found.title, found.source) == (KAP.title, KAP.source)


def test_words_of_ones_own_stay_and_a_recipe_without_a_source_gets_none(tmp_path):
    own = {"extends": "kap", "title": "mine", "source": "my table", "surgery": [{"op": "kap", "dims": 1}]}
    assert (load_recipe(own).title, load_recipe(own).source) == ("mine", "my table")
    assert load_recipe({"surgery": [{"op": "kap"}]}, ["kap.sigma=0.2"]).source == ""
    (tmp_path / "a.yaml").write_text("extends: kap\nsource: table A\nsurgery: [{op: kap, sigma: 0.2}]\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nsurgery: [{op: kap, sigma: 0.3}]\n")
    found = load_recipe(tmp_path / "b.yaml")
    assert found.source == "kap.sigma=0.3; all else: table A"
    assert found.title == f"{KAP.title}; with kap.sigma=0.2; with kap.sigma=0.3"


def test_many_and_long_changes_fit_into_a_line():
    many = [
        f"training.{k}" for k in ("epochs=3", "lr=1", "min_lr=0", "pad=1", "flip=true", "mixup=1", "cutmix=1")
    ]
    assert ", and 1 more; all else: K=3" in load_recipe("kap", many).source
    named = load_recipe("kap", [f"data.classes=[{', '.join('c' * 30 + str(n) for n in range(300))}]"]).source
    assert len(named) < 300 and named.endswith(KAP.source)
    long = {"name": "r", "source": "x" * 1000, "title": "y" * 1000, "surgery": [{"op": "kap"}]}
    assert len(load_recipe(long, ["kap.sigma=0.2"]).source) == 1000


@pytest.mark.parametrize("name", available())
def test_every_shipped_recipe_has_words_of_its_own(name):
    assert "all else: " not in load_recipe(name).source and "; with " not in load_recipe(name).title


def test_a_command_shows_what_differs():
    _, out, _ = invoke("recipes", "show", "trades", "--set", "training.adversary.beta=3")
    assert load(out)["source"].startswith("training.adversary.beta=3.0; all else: CIFAR-10: 1/λ=6")


def test_a_papers_rows_name_what_their_table_changes():
    row = load_protocol("kap/table1").recipes_of("NT", "smoke")
    assert all("; all else: " in r.source and "training.epochs=" in r.source for r in row if r.source)
    again = with_parts(KAP, training=Training(epochs=2))
    assert again.source == f"training.epochs=2; all else: {KAP.source}"


def test_a_run_of_before_goes_on_whatever_its_recipe_says_of_itself(tmp_path):
    new = {"recipes": [load_recipe("kap", ["kap.kernel_size=5"]).model_dump(mode="json")]}
    old = json.loads(json.dumps(new))
    old["recipes"][0] |= {"title": KAP.title, "source": KAP.source}
    (tmp_path / "settings.json").write_text(json.dumps(old))
    assert claim(tmp_path, "settings.json", new, "a run", compared=without_prose) == old
    old["recipes"][0]["surgery"][0]["kernel_size"] = 3
    (tmp_path / "settings.json").write_text(json.dumps(old))
    with pytest.raises(Exception, match="other settings \\(recipes\\)"):
        claim(tmp_path, "settings.json", new, "a run", compared=without_prose)


def test_hashes_of_runs_that_were_made_are_not_of_such_words(monkeypatch):
    """Of the words that recipes had when their hashes were made, and so the same with and without what is told now."""
    known = [load_protocol(n) for n in ("kap/fig4c", "kap/table1", "anl/table3-cifar10")]
    asked = [(one, "smoke", row) for one in known for row in one.rows_of("smoke")]
    hashes = [settings_of(*one) for one in asked]
    monkeypatch.setattr("surgeon.recipe.loading.retold", lambda *_: {})
    monkeypatch.setattr("surgeon.recipe.retelling.retold", lambda *_: {})
    assert [settings_of(*one) for one in asked] == hashes
