"""RobustBench's entry, its adversarial images, and whether its rules would let a network in."""

import json
import sys

import pytest
import torch
from torch import nn

import surgeon
from surgeon.evaluation import Normalized, assess
from surgeon.evaluation.diagnostics.flags import autoattack_flags
from surgeon.evaluation.engine.external import EXTERNAL
from surgeon.pipeline import benchmark_list
from surgeon.pipeline.verifying import verify_folder
from surgeon.recipe import Evaluation
from surgeon.report import report
from surgeon.results import benchmark
from surgeon.results.acceptance import acceptance
from surgeon.results.benchmark import CIFAR10, CIFAR100, dataset_of
from surgeon.results.robustbench import model_info
from surgeon.results.shifted import ALEXNET, Shift, ShiftRow
from surgeon.results.statistics import wilson

WHOLE = 20


@pytest.fixture
def small(monkeypatch):
    """Test sets of 20 images, so that a whole one is attacked in seconds."""
    monkeypatch.setitem(benchmark.TEST_IMAGES, "cifar10", WHOLE)
    monkeypatch.setitem(benchmark.TEST_IMAGES, "imagenet", WHOLE)


@pytest.fixture(scope="module")
def network():
    """A network of ten classes that is right on its images, with steep slopes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10)
    ).eval()
    x = torch.rand(WHOLE, 3, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1)
    return model, x, y


STANDARD = Evaluation(
    suite="standard",
    eps=0.01,
    diagnostics=WHOLE,
    pictures=False,
    beyond=False,
    keep=True,
    adaptive_samples=WHOLE,
)
DATA = {"source": "torch/cifar10", "split": "test", "classes": list(CIFAR10)}


@pytest.fixture(scope="module")
def whole(network, tmp_path_factory):
    """AutoAttack on all of a test set of CIFAR-10."""
    folder = tmp_path_factory.mktemp("whole") / "e"
    model, x, y = network
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(benchmark.TEST_IMAGES, "cifar10", WHOLE)
        patch.setattr("surgeon.evaluation.suites._square", _short_square)
        found = assess(model, x, y, STANDARD, folder, data=DATA, class_names=CIFAR10)
    return folder, found


def _short_square(norm, eps, queries, more):
    from surgeon.results.threat import Attack

    return [Attack(name="square", kind="square", loss="margin", norm=norm, eps=eps, steps=20, **more)]


def test_the_entry_of_a_whole_test_set_has_what_autoattack_leaves(small, whole):
    folder, found = whole
    info = model_info(found)
    rows = {r.attack: r for r in found.summary.rows}
    assert info["autoattack_acc"] == f"{100 * rows['square'].shares[0].value:.2f}"
    assert (info["dataset"], info["norm"], info["eps"]) == ("cifar10", "Linf", "0.01")
    assert "external" not in info and info["corruptions_acc"] is None
    assert 0 < float(info["autoattack_acc"]) < float(info["clean_acc"]) == 100


def test_it_is_read_as_robustbench_reads_its_entries(small, whole):
    """`get_key` of its leaderboard takes the first of external and autoattack_acc that an entry has, as a float."""
    found = whole[1]
    for one in (found, _lowered(found)):
        info = json.loads(json.dumps(model_info(one)))
        taken = next(float(info[k]) for k in ("external", "autoattack_acc") if k in info)
        assert taken == pytest.approx(100 * one.summary.lowest.value, abs=0.005)


def _lowered(found):
    """As if an attack from the record left one image less."""
    s = found.summary
    lower = wilson(s.lowest.k - 1, s.lowest.n)
    return found.model_copy(update={"summary": s.model_copy(update={"lowest": lower, "worst": lower})})


def test_other_attacks_that_leave_less_are_external(small, whole):
    info, plain = model_info(_lowered(whole[1])), model_info(whole[1])
    assert info["autoattack_acc"] == plain["autoattack_acc"]
    assert float(info["external"]) == pytest.approx(float(plain["autoattack_acc"]) - 100 / WHOLE, abs=0.005)
    assert "external: AutoAttack and all other attacks" in info["footnote"]


@pytest.mark.parametrize(
    "data, count, said",
    [
        ({**DATA}, 12, "12 of 20 test images of cifar10 were attacked"),
        ({"source": "digits", "split": "test"}, WHOLE, "the images are of no data set of RobustBench"),
        (
            {**DATA, "source": "one.parquet", "split": "train"},
            WHOLE,
            "nothing says that the images are the test",
        ),
        (
            {"source": "torch/imagenet", "split": "val"},
            WHOLE,
            "nothing says that the images are the 5,000 of RobustBench's list",
        ),
    ],
)
def test_a_part_of_a_test_set_leaves_no_figure_and_says_why(small, whole, data, count, said):
    found = whole[1]
    s = found.summary.model_copy(update={"clean": wilson(count, count)})
    part = found.model_copy(update={"data": {**data, "count": count}, "summary": s})
    info = model_info(part)
    assert info["autoattack_acc"] is None and "external" not in info
    assert f"no autoattack_acc: {said}" in info["footnote"]
    assert not acceptance(part)[-1].kept and said in acceptance(part)[-1].because


def test_1000_images_of_the_published_10000_leave_no_figure(whole):
    info = model_info(whole[1])
    assert info["autoattack_acc"] is None and "20 of 10,000 test images of cifar10" in info["footnote"]


def test_imagenet_by_its_list_is_whole(small, whole):
    classes = [f"n{i:08d}" for i in range(1000)]
    data = {"source": "x", "split": "val", "robustbench": True, "classes": classes}
    info = model_info(whole[1].model_copy(update={"data": data}))
    assert info["autoattack_acc"] is not None and info["dataset"] == "imagenet"


def test_three_attacks_are_not_autoattack(small, whole):
    found = whole[1]
    rows = tuple(r for r in found.summary.rows if r.attack != "fab-t")
    part = found.model_copy(update={"summary": found.summary.model_copy(update={"rows": rows})})
    assert model_info(part)["autoattack_acc"] is None
    assert "AutoAttack's four standard attacks were not all made" in model_info(part)["footnote"]


def test_corruptions_are_of_the_whole_published_set_alone(small, whole):
    rows = tuple(ShiftRow(part=k, severity=s, share=wilson(6, 10)) for k in ALEXNET for s in range(1, 6))
    fields = dict(source="c", contents="", images=10, rows=rows)
    shift = Shift(name="CIFAR-10-C", kind="cifar-c", whole=True, **fields)
    info = model_info(whole[1].model_copy(update={"shifts": (shift,)}))
    assert (info["corruptions_acc"], info["corruptions_mce"]) == ("60.00", None)
    for other in (
        shift.model_copy(update={"whole": False}),
        shift.model_copy(update={"name": "CIFAR-100-C"}),
        shift.model_copy(update={"rows": rows[:-1]}),
    ):
        assert model_info(whole[1].model_copy(update={"shifts": (other,)}))["corruptions_acc"] is None
    imagenet = whole[1].model_copy(
        update={
            "data": {"source": "torch/imagenet", "split": "val"},
            "shifts": (Shift(name="ImageNet-C", kind="imagenet-c", whole=True, **fields),),
        }
    )
    mce = 100 * sum(0.4 / e for e in ALEXNET.values()) / 15
    assert model_info(imagenet)["corruptions_mce"] == f"{mce:.2f}"


def test_the_adversarial_images_are_those_of_the_test_set(small, whole, network):
    folder, found = whole
    model, x, y = network
    held = torch.load(folder / EXTERNAL, weights_only=True)
    assert held.shape == x.shape and held.dtype == torch.float32
    assert float(held.min()) >= 0 and float(held.max()) <= 1
    assert float((held.double() - x.double()).abs().max()) <= 0.01 + 1e-6
    with torch.no_grad():
        right = int((model(held).argmax(1) == y).sum())
    assert right == found.summary.worst.k
    assert f"{100 * right / WHOLE:.2f}" == model_info(found)["autoattack_acc"]


def test_no_adversarial_images_of_a_part_or_in_another_order(small, network, tmp_path):
    model, x, y = network
    quick = Evaluation(suite="basic", attacks=["fgsm"], eps=0.01, keep=True)
    part = assess(model, x[:12], y[:12], quick, tmp_path / "part", data=DATA)
    order = list(reversed(range(WHOLE)))
    assess(model, x, y, quick, tmp_path / "order", data=DATA, examples=order)
    assess(model, x, y, quick.model_copy(update={"keep": False}), tmp_path / "unkept", data=DATA)
    assert part.summary.clean.n == 12
    assert not list(tmp_path.rglob(EXTERNAL))


def test_the_folder_verifies_and_the_page_says_the_rules(small, whole, tmp_path):
    folder, found = whole
    assert not [c for c in verify_folder(folder) if c.ok is False and c.name == "parts"]
    page = report([folder], tmp_path / "page.html").read_text()
    assert "would RobustBench take it?" in page and "no optimization loop: would be accepted" in page


@pytest.mark.parametrize(
    "data, name",
    [
        ({"source": "torch/cifar10", "split": "test"}, "cifar10"),
        ({"source": "torch/cifar10", "split": "train"}, None),
        ({"source": "TORCH/CIFAR100"}, "cifar100"),
        ({"source": "a.parquet", "classes": ["Airplane", *CIFAR10[1:]]}, "cifar10"),
        ({"source": "a.parquet", "classes": [*CIFAR10[1:], CIFAR10[0]]}, None),
        ({"source": "a", "classes": ["cra" if c == "crab" else c for c in CIFAR100]}, "cifar100"),
        ({"source": "a", "classes": [f"n{i:08d}" for i in range(1000)]}, "imagenet"),
        ({"source": "digits", "classes": [*"0123456789"]}, None),
        ({}, None),
    ],
)
def test_which_data_set_it_is(data, name):
    assert dataset_of(data) == name


def test_images_are_compared_with_the_list_of_the_package(small, tmp_path, monkeypatch):
    from PIL import Image

    names = [f"n{c:08d}/ILSVRC2012_val_{i:08d}.JPEG" for c in range(4) for i in range(5)]
    for name in names:
        (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "val" / name)
    package = tmp_path / "site" / "robustbench"
    (package / "helper_files").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    listed = package / "helper_files" / "imagenet_test_image_ids.txt"
    listed.write_text("\n".join(reversed(names)))
    monkeypatch.delitem(sys.modules, "robustbench", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    from surgeon.data import held_out

    test = held_out(str(tmp_path / "val"), (3, 8, 8))
    assert benchmark_list.of_the_list(str(tmp_path / "val"), None, test)
    listed.write_text("\n".join([*names[1:], "n00000009/other.JPEG"]))
    assert not benchmark_list.of_the_list(str(tmp_path / "val"), None, test)
    listed.unlink()
    assert not benchmark_list.of_the_list(str(tmp_path / "val"), None, test)


# AutoAttack's flags, and the three rules


class Random(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x + 0.05 * torch.randn_like(x))


class Flat(Random):
    def forward(self, x):
        return self.model((x * 7).round() / 7)


class Optimising(Random):
    """Moves its input by a gradient before it answers."""

    def forward(self, x):
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.model(at).logsumexp(1).sum(), at)
        return self.model(x - 1e-3 * slope)


class Backward(Random):
    def forward(self, x):
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            self.model(at).logsumexp(1).sum().backward()
        return self.model(x - 1e-3 * at.grad)


class Softmax(Random):
    def forward(self, x):
        return self.model(x).softmax(1)


def official_flags(model, x, y):
    """AutoAttack's check_randomized, check_range_output and check_dynamic, as checks.py has them."""
    outputs, accuracies = [], []
    with torch.no_grad():
        for _ in range(5):
            out = model(x)
            accuracies.append((out.max(1)[1] == y).sum().item())
            outputs.append(out / ((out**2).sum(1, keepdim=True).sqrt() + 1e-10))
        far = max(
            ((outputs[c] - outputs[e]) ** 2).sum(1).sqrt().max().item()
            for c in range(4)
            for e in range(c + 1, 5)
        )
        out = model(x)
        spread = out.max() < 1 + 1e-5 and out.min() > -1e-5 and ((out.sum(-1) - 1).abs() < 1e-5).all()
    counts = {"grad": 0, "backward": 0, "_make_grads": 0}

    def trace(frame, event, args):
        if event == "call" and frame.f_code.co_name in counts:
            counts[frame.f_code.co_name] += 1

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        model(x)
    finally:
        sys.settrace(before)
    randomized = any(a != accuracies[-1] for a in accuracies) or far > 1e-4
    return randomized, bool(spread), any(counts.values())


@pytest.mark.parametrize("wrap", [Normalized, Random, Flat, Optimising, Backward, Softmax])
def test_flags_are_autoattacks(network, wrap):
    model, x, y = network
    subject = wrap(model)
    flags = autoattack_flags(subject, x, y, eps=0.01)
    assert (flags.randomized, flags.probabilities, flags.dynamic) == official_flags(subject, x, y)
    assert (flags.zero_gradients == flags.started > 0) == (wrap is Flat)
    assert sys.getprofile() is None


def _rules(network, wrap, tmp_path, monkeypatch):
    monkeypatch.setattr("surgeon.evaluation.suites.EOT", 2)
    monkeypatch.setattr("surgeon.evaluation.asked.DRAWS", 3)
    model, x, y = network
    settings = Evaluation(suite="basic", attacks=["fgsm"], eps=0.01, diagnostics=WHOLE, pictures=False)
    subject = wrap(model)
    if wrap is Softmax:
        found = assess(subject, x, y, settings, tmp_path / "e", data=DATA, probabilities=True)
    else:
        found = assess(subject, x, y, settings, tmp_path / "e", data=DATA)
    return found, {r.rule: r for r in acceptance(found)}


@pytest.mark.parametrize(
    "wrap, broken, because",
    [
        (nn.Sequential, None, ""),
        (Random, "deterministic forward pass", "5 passes over 20 images differ"),
        (Flat, "non-zero gradients", "the DLR loss has no gradient at"),
        (Optimising, "no optimization loop", "a forward pass computes gradients"),
    ],
)
def test_the_three_rules(network, wrap, broken, because, tmp_path, monkeypatch):
    found, rules = _rules(network, wrap, tmp_path, monkeypatch)
    three = ("non-zero gradients", "deterministic forward pass", "no optimization loop")
    assert {n for n in three if not rules[n].kept} == ({broken} if broken else set())
    if broken:
        assert because in rules[broken].text and "would not be accepted, because" in rules[broken].text
        assert not rules["AutoAttack's flags"].kept
    else:
        assert (
            rules["AutoAttack's flags"].kept
            and "Square was not compared" in rules["AutoAttack's flags"].because
        )


def test_a_surgery_that_draws_is_told_by_its_record(network, tmp_path):
    model, x, y = network
    cut = surgeon.apply(model, "parametric-noise", input_size=(3, 8, 8)).eval()
    settings = Evaluation(
        suite="basic", attacks=["fgsm"], eps=0.01, diagnostics=WHOLE, pictures=False, adaptive=False
    )
    found = assess(cut, x, y, settings, tmp_path / "e", data=DATA)
    rule = acceptance(found)[1]
    assert found.plan.traits.stochastic == "always"
    assert rule.kept is False and "its surgery draws at inference" in rule.because


def test_square_that_beats_the_gradients_is_flagged(small, whole):
    found = whole[1]
    rows = tuple(
        r.model_copy(update={"shares": (wilson(r.shares[0].k - 2, r.shares[0].n),)})
        if r.attack == "square"
        else r
        for r in found.summary.rows
    )
    worse = found.model_copy(update={"summary": found.summary.model_copy(update={"rows": rows})})
    told = {r.rule: r for r in acceptance(worse)}["AutoAttack's flags"]
    assert not told.kept and "Square lowers the accuracy by" in told.because


def test_without_diagnostics_nothing_is_known(whole):
    found = whole[1].model_copy(update={"flags": None})
    assert [r.kept for r in acceptance(found)] == [None, None, None, None, False]
    assert "not known, because no diagnostics were made" in acceptance(found)[0].text
