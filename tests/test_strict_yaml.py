"""Settings in YAML: one meaning each, within limits, and nothing that merely looks like a number."""

import random
import string
import time

import pytest

from surgeon import strict_yaml
from surgeon.errors import RecipeError
from surgeon.recipe import Adversary, Data, Recipe, Training, dump, load_recipe, shipped
from surgeon.strict_yaml import YamlError, load
from tests.cli.commandline import invoke

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("+2", 2),
        ("0o10", 8),
        ("0x1f", 31),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("8/255", "8/255"),
        ("2020-01-01", "2020-01-01"),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("a b", "a b"),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: {b: []}}", {"a": {"b": []}}),
        ("a:\n- 1\n- b: 2\n", {"a": [1, {"b": 2}]}),
        ("yes: 1", {"yes": 1}),
        ("-1.5e+3", -1500.0),
    ],
)
def test_plain_words_are_those_of_yaml_1_2(text, value):
    found = load(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: yes", 1, "write true or false"),
        ("a: 1\nb: off", 2, "write true or false"),
        ("1:30", 1, "two ways"),
        ("010", 1, "two ways"),
        ("-010", 1, "two ways"),
        ("1_000", 1, "two ways"),
        ("0b11", 1, "two ways"),
        ("190:20:30.15", 1, "two ways"),
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' stands here twice"),
        ("{a: 1, a: 2}", 1, "twice"),
        ("x:\n  a: 1\n  'a': 2", 3, "twice"),
        (BOMB, 1, "aliases"),
        ("a: &x 1", 1, "anchors"),
        ("a: 1\nb: *x", 2, "aliases"),
        ("<<: *x", 1, "aliases"),
        ("a: !!python/object/apply:os.getcwd []", 1, "tags"),
        ("!!set {a}", 1, "tags"),
        ("! x", 1, "tags"),
        ("!!int 3", 1, "tags"),
        ("a\n---\nb", 2, "one document"),
        ("%YAML 1.1\n---\na", 2, "one document"),
        ("? [a]\n: 1", 1, "a key must be a word"),
        ("[1, 2", 1, "expected"),
        ("a: 'x", 1, "end of stream"),
        ("\x00", 1, "not allowed"),
        ("a:\n\tb: 1", 2, "cannot start"),
        ("[" * 5000, 1, "nested deeper"),
        ("{a: " * 5000, 1, "nested deeper"),
        ("- " * 5000, 1, "nested deeper"),
        ("\n".join(" " * n + "a:" for n in range(500)), 33, "nested deeper"),
        ("[" + "1," * 30_000 + "]", 1, "more than 20,000 values"),
        ("x" * (2**20 + 1), 1, "longer than"),
    ],
)
def test_what_is_refused_is_told_with_its_line(text, line, reason):
    began = time.perf_counter()
    with pytest.raises(YamlError, match=reason) as error:
        load(text)
    assert error.value.line == line
    assert "\n" not in str(error.value)
    assert time.perf_counter() - began < 30  # an alias bomb takes hours


def test_an_alias_bomb_is_small():
    assert len(BOMB) < 1000


def test_what_is_dumped_is_read_back():
    draw = random.Random(0)
    awkward = [
        "yes",
        "No",
        "010",
        "1:30",
        "1_0",
        "",
        "null",
        "~",
        "1e5",
        "- a",
        "a: b",
        "# c",
        "'q\"",
        " x ",
        "a\nb",
        "\x07",
        "é",
        "8/255",
        "*a",
        "&a",
        "!x",
        "%d",
        "@",
        "`",
        "2020-01-01",
        ".inf",
        "true",
        "---",
        "...",
        "?",
        ":",
        "[",
        "{a}",
        "|",
        ">",
        "long " * 60,
    ]

    def some(deep):
        kind = draw.randrange(8 if deep else 6)
        if kind == 6:
            return [some(deep - 1) for _ in range(draw.randrange(4))]
        if kind == 7:
            return {str(some(0)): some(deep - 1) for _ in range(draw.randrange(4))}
        letters = "".join(draw.choices(string.printable, k=draw.randrange(8)))
        return [None, True, draw.randrange(-99, 99), draw.random() * 1e-4, draw.choice(awkward), letters][
            kind
        ]

    for word in awkward:
        assert load(strict_yaml.dump({"a": word, "b": [word]})) == {"a": word, "b": [word]}
    for _ in range(150):
        content = {"a": some(3)}
        assert load(strict_yaml.dump(content)) == content


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_load_and_survive_being_dumped(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / "again.yaml").write_text(dump(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_a_recipe_of_awkward_words_survives_being_dumped(tmp_path):
    recipe = Recipe(
        name="yes",
        title="010",
        paper="1:30",
        source="a: b # c\nd",
        surgery=(),
        data=Data(classes=("no", "1_0")),
    )
    (tmp_path / "again.yaml").write_text(dump(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=yes", "'yes' can be a word or a flag; write true or false"),
        ("training.epochs=1:30", "'1:30' can be read in two ways"),
        ("training.epochs=010", "'010' can be read in two ways"),
        ("training.epochs=true", "training.epochs: Input should be a valid integer"),
        ("training.epochs='3'", "training.epochs: Input should be a valid integer"),
        ("training.epochs=3.0", "training.epochs: Input should be a valid integer"),
        ("training.flip=1", "training.flip: Input should be a valid boolean"),
        ("training.lr='0.1'", "training.lr: Input should be a valid number"),
        ("training.lr=.nan", "finite"),
        ("training.lr=1e-400", "closer to 0 than any number"),
        ("training.lr=.inf", "finite"),
        ("training.lr=1e300", "training.lr: Input should be less than or equal to 1000000"),
        ("training.min_lr=1e7", "training.min_lr: "),
        ("training.weight_decay=1e30", "training.weight_decay: "),
        ("training.adversary={beta: 1e30}", "training.adversary.beta: "),
        ("training.mixup=1e300", "training.mixup: "),
        ("training.warmup_epochs=1e300", "training.warmup_epochs: "),
        ("training.optimizer=3", "valid string"),
        ("data.size=[32, true]", "data.size"),
        ("data.size=[0, 32]", "greater than or equal to 1"),
        ("kap.kernel_size=true", "kernel_size: Input should be a valid integer"),
        ("kap.sigma='one'", "sigma: 'one' is not a number"),
        ("kap.select.stages=['1']", "valid integer"),
        ("kap.widen=1", "boolean"),
        ("kap.select.channels=[1]", "is not a condition"),
        ("training.epochs=" + "[" * 5000, "nested deeper"),
        ("training.epochs=&a [*a]", "anchors"),
    ],
)
def test_settings_are_of_the_type_that_they_are_for(setting, message):
    with pytest.raises(RecipeError) as error:
        load_recipe("kap", [setting])
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_an_integer_is_a_number_and_a_list_a_tuple():
    recipe = load_recipe(
        "kap", ["training.lr=1", "data.size=[32, 48]", "kap.sigma=0", "kap.pixel_std=[1, 1, 2]"]
    )
    assert (recipe.training.lr, recipe.data.size) == (1.0, (32, 48))
    assert (recipe.surgery[0].sigma, recipe.surgery[0].pixel_std) == (0.0, (1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.lr=0.01", "training.min_lr=0.02"], "min_lr=0.02 is above lr=0.01"),
        (["training.epochs=5", "training.warmup_epochs=5"], "warmup_epochs=5 leaves nothing of epochs=5"),
        (["training.batch_size=4", "training.accumulate=8"], "accumulate=8 is larger than batch_size=4"),
        (["data.val_share=0.5", "data.test_share=0.5"], "leave no images for training"),
        (["data.classes=[a, b, a]"], "classes is empty or names a class twice"),
        (["data.classes=[]"], "classes is empty"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("kap", settings)


def test_settings_that_fit_together_are_taken_together():
    code, out, err = invoke(
        "recipes",
        "show",
        "plain",
        "--set",
        "training.lr=0.0001",
        "--set",
        "training.min_lr=0",
        "--set",
        "training.epochs=3",
    )
    assert code == 0, err
    assert load(out)["training"]["lr"] == 0.0001
    assert Training(lr=1e-4).lr < Training().min_lr  # a default that nobody wrote contradicts nothing
    assert Training(epochs=0, warmup_epochs=3).epochs == 0 and Adversary(eps=1).eps == 1.0


def test_files_are_refused_with_their_line(tmp_path):
    path = tmp_path / "mine.yaml"
    for content, message in (
        ("surgery: []\ntraining:\n  epochs: yes\n", "mine.yaml, line 3: 'yes' can be a word or a flag"),
        ("surgery: []\ntraining:\n  lr: 1\n  lr: 2\n", "mine.yaml, line 4: the key 'lr' stands here twice"),
        ("surgery: []\n" + BOMB, "mine.yaml, line 2: anchors"),
        ("[" * 5000, "mine.yaml, line 1: it is nested deeper"),
        ("surgery: []\nname: <img src=x>\n", "name: String should match pattern"),
        ("surgery: []\nname: 3\n", "valid string"),
        ('surgery: []\ntitle: "a\\x1bb"\n', "title: String should match pattern"),
        (f"surgery: []\npaper: {'x' * 1001}\n", "at most 1000"),
    ):
        path.write_text(content)
        code, _, err = invoke("recipes", "validate", path)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1, err
    path.write_text("x" * (2**20 + 1))
    with pytest.raises(RecipeError, match="larger than 1 MiB"):
        load_recipe(path)


def test_a_chain_of_recipes_has_an_end(tmp_path):
    for n in range(40):
        (tmp_path / f"{n}.yaml").write_text(f"extends: {n + 1}.yaml\n")
    with pytest.raises(RecipeError, match="a chain of more than"):
        load_recipe(tmp_path / "0.yaml")


def test_arguments_of_models_are_read_the_same_way():
    for text, message in (
        ("bias=no", "write true or false"),
        ("depth=010", "two ways"),
        ("x=&a [*a]", "anchors"),
    ):
        code, _, err = invoke("inspect", "test_resnet", "--model-arg", text)
        assert code == 2 and message in err, err
