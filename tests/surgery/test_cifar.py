"""The cut must not kill a trained network: a CIFAR-10 ResNet-20, its real weights, real images."""

import pytest
import torch
from click.testing import CliRunner

import surgeon
from surgeon.cli import group
from surgeon.data import labelled
from surgeon.numerals import percent
from surgeon.zoo import CifarResNet

SIZE = (3, 32, 32)
KAP = {"op": "kap", "kernel_size": 3, "stride": 1}


@pytest.fixture(scope="module")
def cifar(shared):
    pytest.importorskip("pyarrow")
    weights = shared / "weights" / "resnet20-12fca82f.th"
    model = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    train = labelled(shared / "data" / "cifar10-jpeg" / "train-00000-of-00001.parquet", SIZE, count=768)
    test = labelled(shared / "data" / "cifar10-jpeg" / "test-00000-of-00001.parquet", SIZE, count=1000)
    return model.eval(), (train.x - mean) / std, (test.x - mean) / std, test.y


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    return sum(
        int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)
    ) / len(y)


def test_kap_in_a_trained_network_keeps_nearly_all_of_the_images(cifar):
    model, calibration, x, y = cifar
    before = accuracy(model, x, y)
    assert before == pytest.approx(0.81, abs=0.03)
    naive = surgeon.apply(model, {**KAP, "start": "naive"}, input_size=SIZE, calibration=calibration)
    assert accuracy(naive, x, y) < 0.2
    cut = surgeon.apply(model, KAP, input_size=SIZE, calibration=calibration)
    assert len(cut.surgery.of("kap")) == 19
    assert accuracy(cut, x, y) >= before - 0.06
    execution = cut.surgery.execution
    assert execution.drift.source == "calibration" and execution.drift.agreement > 0.75
    assert execution.statistics == 704 and len(execution.residuals) == 19
    folded = surgeon.fold(cut)
    assert type(folded) is CifarResNet
    assert accuracy(folded, x, y) == pytest.approx(accuracy(cut, x, y), abs=0.002)
    back = surgeon.revert(cut)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in back.state_dict().items())


def test_the_start_from_weights_alone_needs_no_images_for_the_fit(cifar):
    model, calibration, x, y = cifar
    cut = surgeon.apply(model, {**KAP, "start": "lstsq"}, input_size=SIZE, calibration=calibration)
    assert accuracy(cut, x, y) >= 0.6
    assert {e.effect for e in cut.surgery.edits} == {"approximated"}
    ensemble = surgeon.apply(model, {**KAP, "stride": 3, "start": "replicate"}, input_size=SIZE)
    assert accuracy(ensemble, x, y) == pytest.approx(accuracy(model, x, y), abs=0.002)


def test_half_of_the_neurons_of_stem_and_first_stage_may_go(cifar):
    model, calibration, x, y = cifar
    masks = {"op": "defective", "keep": 0.5, "select": {"stages": [0, 1]}}
    cut = surgeon.apply(model, masks, input_size=SIZE, calibration=calibration[:256])
    assert len(cut.surgery.edits) == 7
    assert accuracy(cut, x, y) >= 0.55
    back = surgeon.revert(cut)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in back.state_dict().items())


def test_meansparse_prints_its_search_and_the_network_is_saved_loaded_and_given_back(cifar, shared, tmp_path):
    model = cifar[0]
    weights = str(shared / "weights" / "resnet20-12fca82f.th")
    images = str(shared / "data" / "cifar10-jpeg" / "train-00000-of-00001.parquet")
    place = ["--weights", weights, "--calibration", images, "-o", str(tmp_path / "cut")]
    asked = ["apply", "meansparse", "zoo/cifar_resnet20", *place, "--set", "meansparse.step=0.1"]
    done = CliRunner().invoke(group, asked)
    assert done.exit_code == 0, done.output
    cut = surgeon.load(tmp_path / "cut").eval()
    found = cut.surgery.execution.searches["meansparse"]
    assert found.curve[0] == (0.0, 0.0) and found.curve[-1][1] > 0.01 >= dict(found.curve)[found.value]
    assert f"meansparse.alpha: {found.value:g}; the largest of those tried" in done.output
    for value, cost in found.curve:
        assert any(f"{value:g} " in line and percent(cost) in line for line in done.output.splitlines())
    done = CliRunner().invoke(group, ["revert", str(tmp_path / "cut"), "-o", str(tmp_path / "back")])
    assert done.exit_code == 0, done.output
    stock = model.state_dict()
    for back in (surgeon.load(tmp_path / "back"), surgeon.revert(cut)):
        again = back.state_dict()
        assert list(again) == list(stock) and all(torch.equal(v, again[k]) for k, v in stock.items())
