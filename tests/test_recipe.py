"""Recipes: shipped ones, files, extending, settings, schema."""

import json

import pytest

from surgeon import strict_yaml
from surgeon.errors import RecipeError
from surgeon.methods import registry
from surgeon.recipe import dump, load_recipe, schema, shipped

PROMISED = {
    "kap",
    "kap-1d",
    "kap-ensemble",
    "kmp",
    "noise",
    "smooth-init",
    "wm-smoothing",
    "wm-unsharp",
    "wm-smoothing-all",
    "wm-unsharp-all",
    "wm-input-scale",
    "anl",
    "canl",
    "lat",
    "gaussian",
    "defective",
    "defective-same",
    "defective-channel",
    "small-image",
    "plain",
    "input-noise",
    "at-fgsm",
    "at-pgd",
    "trades",
    "fast-at",
    "meansparse",
    "smooth-activation",
    "squeeze-excite",
    "kap-gaussian",
    "parametric-noise",
    "advprop",
    "soft-pool",
    "blur-pool",
    "kwta",
    "awp",
    "trades-awp",
    "mart",
    "n-fgsm",
    "swa",
    "at-swa",
    "trades-ema",
}
"""Names that scripts may use: none of them goes away. A new recipe is tested without being listed."""


def test_every_promised_recipe_is_shipped_and_names_its_paper_and_source():
    assert set(shipped()) >= PROMISED
    for name in shipped():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.title and recipe.paper and recipe.source, name


def test_every_operation_has_a_recipe_but_the_one_that_does_nothing():
    used = {o.name for name in shipped() for o in load_recipe(name).surgery}
    assert set(registry._shipped()) - used == {"identity"}


@pytest.mark.parametrize("name", shipped())
def test_recipes_survive_a_round_trip(name):
    recipe = load_recipe(name)
    assert load_recipe(strict_yaml.load(dump(recipe))) == recipe
    assert load_recipe(json.loads(recipe.model_dump_json(exclude_none=True))) == recipe


def test_extending_merges_operation_by_operation(tmp_path):
    ensemble = load_recipe("kap-ensemble").surgery[0]
    assert (ensemble.kernel_size, ensemble.stride, ensemble.widens, ensemble.sigma) == (3, 3, True, 0.1)
    (tmp_path / "base.yaml").write_text(
        "surgery:\n  - {op: kap, kernel_size: 5}\n  - {op: noise, sigma: 0.3}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "extends: base.yaml\nsurgery:\n  - {op: noise, sigma: 0.4}\n  - {op: kap, sigma: 0.2}\n  - {op: kap, dims: 1}\n"
    )
    found = load_recipe(tmp_path / "mine.yaml").surgery
    assert [o.name for o in found] == ["kap", "noise", "kap"]
    assert (found[0].kernel_size, found[0].sigma, found[1].sigma, found[2].dims) == (5, 0.2, 0.4, 1)


def test_recipes_that_extend_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match="in a circle: a.yaml → b.yaml → a.yaml"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "surgery:\n  - {op: kap, kernal_size: 3}\n",
            r"unknown key 'kernal_size'; did you mean 'kernel_size' or 'kernel'\?",
        ),
        ("surgery:\n  - {op: kpa}\n", r"unknown operation 'kpa'; did you mean 'kap'"),
        ("surgry:\n  - {op: kap}\n", r"unknown key 'surgry'; did you mean 'surgery'"),
        (
            "surgery:\n  - {op: kap, kernel_size: 4}\n",
            r"kernel_size=4 is even; a window needs a centre: 3 or 5",
        ),
        (
            "surgery:\n  - {op: kap, select: {stage: 1}}\n",
            r"unknown key 'select.stage'; did you mean 'stages'\?",
        ),
        ("surgery:\n  - {kernel_size: 3}\n", "needs the key 'op'"),
        (
            "training: {epoch: 3}\nsurgery: [{op: kap}]\n",
            r"unknown key 'training.epoch'; did you mean 'epochs' or",
        ),
        ("surgery: [\n  op: kap\n", "line 3"),
        ("- kap\n", "holds list, not a mapping"),
        ("surgery:\n  - {op: kap, start: replicate}\n", "needs stride = kernel_size"),
        ("surgery:\n  - {op: defective, keep: 1.5}\n", "keep: Input should be less than or equal to 1"),
    ],
)
def test_faults_are_named_in_one_line(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_unknown_recipes_get_the_nearest_names(tmp_path):
    with pytest.raises(RecipeError, match="unknown recipe 'defectiv'; did you mean 'defective'"):
        load_recipe("defectiv")
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")


def test_settings_change_operations_training_and_selectors():
    recipe = load_recipe(
        "kap", ["kap.kernel_size=5", "kap.select.stages=[0, 1]", "training.epochs=3", "kap.start=lstsq"]
    )
    (operation,) = recipe.surgery
    assert (operation.kernel_size, operation.select.stages, recipe.training.epochs, operation.start) == (
        5,
        (0, 1),
        3,
        "lstsq",
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kpa.kernel_size=5", r"the recipe has no 'kpa'; did you mean 'kap'\?"),
        ("kap.kernelsize=5", r"unknown key 'kernelsize'; did you mean 'kernel_size'\?"),
        ("kap.kernel_size", "must look like operation.key=value"),
        ("kap.sigma.x=1", "'sigma' has no keys of its own"),
        ("kap#2.sigma=1", "the recipe has no 'kap#2'"),
    ],
)
def test_faulty_settings_are_named(setting, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("kap", [setting])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "surgery:\n  - {op: kap}\n  - noise\n",
            r"bad.yaml: surgery holds 'noise' as number 2, not a mapping",
        ),
        ("surgery: 3\n", "surgery must be a list of operations"),
        ("extends: [kap]\n", r"unknown recipe .*did you mean 'kap'\?"),
        ("training: 3\nextends: kap\n", "training: Input should be a valid dictionary"),
        ("", "holds NoneType, not a mapping"),
        ("surgery: !!python/object/apply:os.getcwd []\n", "line 1: tags are not read"),
    ],
)
def test_malformed_files_are_refused(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "bad.yaml")


def test_an_error_tells_the_operation_and_not_the_whole_list():
    with pytest.raises(RecipeError) as caught:
        load_recipe("kap", ["kap.kernelsize=5"])
    assert (
        str(caught.value)
        == "kap.yaml: operation 'kap': unknown key 'kernelsize'; did you mean 'kernel_size'?"
    )


def test_mappings_without_a_name_are_named_after_their_operations():
    assert load_recipe({"surgery": [{"op": "noise"}, {"op": "kap"}]}).name == "noise+kap"
    assert load_recipe({"extends": "kmp", "training": {"epochs": 2}}).name == "kap"


def test_the_schema_asks_for_a_surgery_or_something_to_extend():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid({"extends": "kap"})
    assert validator.is_valid({"surgery": [{"op": "kap"}]})
    assert not validator.is_valid({"title": "nothing to do"})


def test_the_schema_describes_the_shipped_files():
    jsonschema = pytest.importorskip("jsonschema")
    from surgeon.recipe import recipe_folder

    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    for name in shipped():
        content = strict_yaml.load((recipe_folder() / f"{name}.yaml").read_text())
        assert not list(validator.iter_errors(content)), name
    assert list(validator.iter_errors({"surgery": [{"op": "kap", "kernal_size": 3}]}))
    assert list(validator.iter_errors({"surgery": [{"op": "nonsense"}]}))


def test_a_name_that_is_extended_is_the_recipe_of_that_name_whatever_file_is_called_so(tmp_path):
    (tmp_path / "kap").write_text("surgery: [{op: kap, kernel_size: 5}]\n")
    (tmp_path / "own").write_text("surgery: [{op: kap, kernel_size: 7}]\n")
    for text, size in (("kap", 3), ("./kap", 5), ("own", 7)):
        (tmp_path / "mine.yaml").write_text(f"extends: {text}\n")
        assert load_recipe(tmp_path / "mine.yaml").surgery[-1].kernel_size == size
