"""Folders and recipes that were changed at random are taken, or refused in one line: nothing else comes out."""

import json
import random

import pytest
import torch

import surgeon
from surgeon.errors import RecipeError, SurgeonError
from surgeon.publishing import card
from surgeon.recipe import dump, load_recipe, recipe_folder, shipped
from tests.mutations import mutated, scrambled, written

SIZE = (1, 16, 16)
FOLDERS = {
    "kap": ("zoo/cnn", {"trained": True}),
    "wm-unsharp": ("zoo/cnn", {}),
    "defective": ("zoo/cnn", {}),
    "anl": ("zoo/cnn", {}),
    "wm-input-scale": ("zoo/lenet5", {}),
    "kap-ensemble": ("zoo/lenet5", {"trained": True}),
}


def folder_of(recipe, place):
    name, given = FOLDERS[recipe]
    args = {"widths": [9, 9, 12], "batch_norm": True} if name == "zoo/cnn" else {}
    size = (1, 32, 32) if name == "zoo/lenet5" else SIZE
    torch.manual_seed(0)
    model = surgeon.create_model(name, num_classes=3, input_size=size, model_args=args)
    return surgeon.save(surgeon.apply(model, recipe, input_size=size, **given), place)


def refused_in_one_line(act):
    """Whether `act` is refused; anything but one line of surgeon's own is an error here."""
    told = ""
    try:
        act()
    except SurgeonError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1, told
    assert len(told) < 3000
    return bool(told)


def try_folders(recipe, place, seed, count):
    """(taken, refused) of so many changed configurations."""
    folder, draw, found = folder_of(recipe, place), random.Random(seed), {True: 0, False: 0}
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for _ in range(count):
        path.write_text(written(mutated(content, draw)))
        refused = refused_in_one_line(lambda: surgeon.load(folder))
        refused_in_one_line(lambda: card.card(folder, "someone/net"))
        found[refused] += 1
    return found[False], found[True]


def try_recipes(place, seed, count):
    draw, found = random.Random(seed), {True: 0, False: 0}
    for _ in range(count):
        name = draw.choice(shipped())
        text = (recipe_folder() / f"{name}.yaml").read_text()
        (place / "mine.yaml").write_text(scrambled(text, draw))
        found[refused_in_one_line(lambda: load_recipe(place / "mine.yaml"))] += 1
        content = load_recipe(name).model_dump(mode="json")
        changed = mutated(content, draw)
        found[
            refused_in_one_line(
                lambda c=changed: dump(load_recipe(c) if isinstance(c, dict) else load_recipe("kap"))
            )
        ] += 1
    return found[False], found[True]


@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_changed_folders_are_taken_or_refused_in_one_line(recipe, tmp_path):
    counts = [try_folders(recipe, tmp_path / f"net-{seed}", seed, 30) for seed in range(3)]
    taken, refused = map(sum, zip(*counts, strict=True))  # one seed may draw next to none that is taken
    assert taken > 3 and refused > 10


def test_changed_recipes_are_taken_or_refused_in_one_line(tmp_path):
    taken, refused = try_recipes(tmp_path, 1, 60)
    assert taken > 3 and refused > 20


def test_settings_of_random_characters_are_taken_or_refused():
    draw = random.Random(2)
    for _ in range(100):
        key = draw.choice(
            [
                "training.epochs",
                "kap.select",
                "kap.kernel_size",
                "data.classes",
                "kap",
                "x.y",
                "training.adversary",
            ]
        )
        refused_in_one_line(lambda k=key: load_recipe("kap", [scrambled(f"{k}=[1, {{a: b}}]", draw)]))
    with pytest.raises(RecipeError):
        load_recipe("kap", ["training.epochs=yes"])
