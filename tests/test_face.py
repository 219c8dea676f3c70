"""What a newcomer finds by looking: settings as keywords, lists of what there is, modules as attributes,
tables in notebooks."""

import inspect
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from torch import nn

import surgeon
from surgeon.effects import Accuracy, Drift
from surgeon.errors import RecipeError, SelectionError, SurgeryError
from surgeon.face import Listing
from surgeon.html import MOST, table
from surgeon.pipeline.conversion import Conversion
from surgeon.protocol.loading import load_protocol
from surgeon.protocol.reproduction import tabulated
from surgeon.recipe import load_recipe
from surgeon.recipe.worded import OWN
from surgeon.results.statistics import wilson
from surgeon.results.study import ROLES, Arm, Study, below
from surgeon.results.summary import Summary
from surgeon.selection import Selector
from surgeon.store.exporting import Exported
from surgeon.verification import Check, Checks

SIZE = (3, 8, 8)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 36, 3), nn.BatchNorm2d(36), nn.ReLU(), nn.Conv2d(36, 36, 3), nn.BatchNorm2d(36)
    )


@pytest.mark.parametrize(
    "given",
    [{"kernel_size": 5}, {"settings": {"kernel_size": 5}}, {"settings": {"kap.kernel_size": 5}}],
)
def test_a_setting_beside_the_recipe_is_the_one_of_a_file(given):
    said = load_recipe("kap", ["kap.kernel_size=5"])
    model = network()
    wanted = surgeon.plan(model, said, input_size=SIZE)
    assert surgeon.plan(model, "kap", input_size=SIZE, **given) == wanted
    assert wanted != surgeon.plan(model, "kap", input_size=SIZE)
    assert surgeon.apply(model, "kap", input_size=SIZE, **given).surgery.operations == wanted.operations


def test_groups_of_settings_are_given_as_selectors_or_key_by_key():
    model = network()
    chosen = surgeon.plan(model, "kap", input_size=SIZE, select=surgeon.select(first=1))
    assert [e.site for e in chosen.edits] == ["input", "0"]
    assert surgeon.plan(model, "kap", input_size=SIZE, settings={"kap.select.first": 1}).edits == chosen.edits


@pytest.mark.parametrize(
    "recipe, given, text",
    [
        (
            "kap",
            {"kernal_size": 5},
            "no operation of the recipe has a setting 'kernal_size'; did you mean 'kernel_size'",
        ),
        ("kap", {"input_sise": SIZE}, "'input_sise'; did you mean 'input_size'"),
        ("kap", {"op": "noise"}, "no operation of the recipe has a setting 'op'"),
        ("kap", {"kernel_size": "five"}, "operation 'kap': kernel_size: .*five"),
        (
            "kap",
            {"settings": {"kap.kernelsize": 3}},
            "operation 'kap': unknown key 'kernelsize'; did you mean 'kernel_size'",
        ),
        ("kap", {"settings": {"kapp.kernel_size": 3}}, "no operation 'kapp'; did you mean 'kap'"),
        ("kap", {"settings": ["kernel_size=3"]}, "must be a mapping"),
        ("kap", {"kernel_size": 3, "settings": {"kernel_size": 3}}, "as a keyword and in settings"),
        (
            "kap+noise",
            {"sigma": 0.1},
            r"2 operations .* 'sigma': say whose, settings=\{'kap.sigma': …\} or 'noise.sigma'",
        ),
        ("kap+kap", {"kernel_size": 3}, r"settings=\{'kap#1.kernel_size': …\} or 'kap#2.kernel_size'"),
    ],
)
def test_settings_that_are_none_say_which_would_be(recipe, given, text):
    for verb in (surgeon.plan, surgeon.apply):
        with pytest.raises(RecipeError, match=text):
            verb(network(), recipe, **given)


def test_whose_setting_is_said_by_the_operation():
    found = surgeon.plan(network(), "kap+noise", input_size=SIZE, settings={"noise.sigma": 0.25})
    assert (found.operations["kap"]["sigma"], found.operations["noise"]["sigma"]) == (0.1, 0.25)


def test_a_plan_takes_no_settings():
    model = network()
    with pytest.raises(SurgeryError, match="pass kernel_size to surgeon.plan"):
        surgeon.apply(model, surgeon.plan(model, "kap", input_size=SIZE), kernel_size=3)


def test_the_arguments_of_plan_and_apply_are_those_that_errors_know():
    taken = {n for f in (surgeon.plan, surgeon.apply) for n in inspect.signature(f).parameters}
    assert taken - {"model", "recipe", "words"} == set(OWN)


def test_lists_of_what_there_is():
    assert set(surgeon.recipes()) == set(surgeon.recipe.shipped()) and all(surgeon.recipes().values())
    assert set(surgeon.operations()) == set(surgeon.methods.names()) and all(surgeon.operations().values())
    assert "kap  " in repr(surgeon.recipes())


def test_select_has_the_selectors_fields():
    signature = inspect.signature(surgeon.select)
    defaults = {k: p.default for k, p in signature.parameters.items()}
    assert defaults == {k: f.default for k, f in Selector.model_fields.items()}
    given = {"include": "layer1.**", "kernel": ">1", "skip_first": 2, "stages": [0, 1]}
    assert surgeon.select(**given) == Selector.model_validate(given)
    with pytest.raises(SelectionError, match="select: kernel: .*not a condition"):
        surgeon.select(kernel="large")


def test_modules_are_attributes_and_nothing_imports_torch_before_it_is_asked():
    code = (
        "import sys, surgeon\n"
        "assert {'training', 'evaluation', 'methods', 'data'} <= set(dir(surgeon))\n"
        "surgeon.recipes(), surgeon.operations(), surgeon.select(), surgeon.methods\n"
        "assert 'torch' not in sys.modules\n"
        "assert surgeon.training.anneal and surgeon.evaluation.Attack and 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Cells(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


EVIL = "<script>alert(1)</script>"


def test_tables_hold_text_alone():
    recipe = load_recipe({"name": "r", "title": EVIL, "surgery": [{"op": "kap", "kernel_size": 5}]})
    plan = surgeon.plan(network(), recipe, input_size=SIZE).model_copy(update={"model": EVIL})
    summary = Summary(clean=wilson(9, 10), worst=wilson(4, 10), lowest=wilson(4, 10), refused=(EVIL,))
    for shown in (recipe, plan, summary, Listing({EVIL: "x"})):
        cells = Cells(shown._repr_html_())
        assert "table" in cells.tags and "script" not in cells.tags
        assert any(EVIL in t for t in cells.text), shown
    assert "kernel_size=5" in recipe._repr_html_()
    rows = Cells(plan._repr_html_())
    assert rows.tags.count("tr") == 1 + len(plan.edits) and "0.kap" in rows.text
    assert {"90.0 %", "40.0 %"} <= set(Cells(summary._repr_html_()).text)


def test_a_study_and_a_reproduction_are_tables():
    arms = tuple(
        Arm(name=n, role=r, seeds=(0, 1), clean=(0.9, 0.8), worst=(0.4, 0.5), reliable=(None, None))
        for n, r in ROLES.items()
    )
    folders = tuple(str(below(n, 0)) for n in ROLES)
    study = Cells(Study(recipe=EVIL, model="m", arms=arms, folders=folders)._repr_html_())
    assert study.tags.count("tr") == 1 + len(ROLES) and "script" not in study.tags
    assert {"85.0 %", "45.0 %", "0, 1"} <= set(study.text)
    reproduction = tabulated(load_protocol("kap/table1"), "smoke", ())
    cells = Cells(reproduction._repr_html_())
    assert cells.tags.count("tr") == 1 + sum(map(len, reproduction.rows.values())) and "94.89" in cells.text


def test_checks_an_export_and_a_conversion_are_tables():
    model = network()
    checks = surgeon.verify(model, surgeon.apply(model, "kap", input_size=SIZE))
    assert isinstance(checks, tuple) and checks == tuple(checks)
    check = Check(name=EVIL, ok=False, detail=EVIL)
    exported = Exported(
        path=EVIL,
        format="onnx",
        opset=20,
        input_size=SIZE,
        dynamic_batch=True,
        folded=False,
        edits_left=3,
        bytes=12345,
        difference=None,
        check=check,
    )
    conversion = Conversion(
        checkpoint=EVIL,
        sha256="",
        settings={},
        effect="approximated",
        folds=True,
        calibration=16,
        refitted=(),
        drift=Drift(relative=0.25, agreement=0.75, images=8, source="test"),
        accuracy=Accuracy(before=8, after=6, both=6, images=8),
        layers={EVIL: 0.5},
        notes=(EVIL,),
        seconds=1.0,
    )
    rows = {}
    for shown in (checks, Checks([check]), exported, conversion):
        cells = Cells(shown._repr_html_())
        assert "table" in cells.tags and "script" not in cells.tags
        rows[type(shown), len(rows)] = cells.text
    first, evil, file, cut = rows.values()
    assert {"names", "folds", "ok"} <= set(first) and {EVIL, "FAILED"} <= set(evil)
    assert {EVIL, "no: 3 edits are left", "12,345", "onnx, opset 20"} <= set(file)
    assert {EVIL, "75.0 % of 8 test images", "100.0 % before, 75.0 % after (8 test images)", "0.500"} <= set(
        cut
    )


def test_long_tables_say_how_much_more_there_is():
    cells = Cells(table([(n,) for n in range(MOST + 3)]))
    assert cells.tags.count("tr") == MOST + 1 and cells.text[-1] == "… and 3 more"
