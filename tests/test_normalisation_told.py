"""An evaluation says how images were normalised where nothing records it, and where weights contradict it."""

import warnings

import pytest
import torch

import surgeon
from surgeon.data import digits

pytest.importorskip("torchattacks")
pytest.importorskip("pyarrow")

SETTINGS = {"suite": "basic", "attacks": ["fgsm"], "pictures": False, "samples": 16}
ARGS = {"channels": [8, 8, 8, 8]}


def network(images):
    """A network of three channels whose batch norms have measured these images."""
    torch.manual_seed(0)
    model = surgeon.create_model("resnet18", num_classes=10, model_args=ARGS).train()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None
        model(images)
    return model.eval()


@pytest.fixture
def images():
    return digits(32)["test"].x[:32].expand(-1, 3, -1, -1).clone()


@pytest.fixture
def notes(images, tmp_path):
    def notes(model):
        from surgeon.evaluation import assess
        from surgeon.recipe import Evaluation

        labels = digits(32)["test"].y[:32]
        return assess(model, images, labels, Evaluation(**SETTINGS), tmp_path / "out").notes

    return notes


def test_weights_that_were_trained_without_the_configured_normalisation_are_told(images, notes):
    (said,) = [n for n in notes(network(0.2 * images + 0.4)) if "stored deviations" in n]
    assert "bn1" in said and "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225" in said


def test_weights_that_fit_are_not(images, notes):
    assert not [
        n for n in notes(network(surgeon.models.normalized(images, network(images)))) if "stored" in n
    ]


def test_a_file_of_weights_does_not_say_how_it_was_trained(images, tmp_path):
    from PIL import Image

    from surgeon.pipeline import evaluate_target
    from surgeon.recipe import Evaluation

    for k in range(10):
        (tmp_path / "images" / "test" / str(k)).mkdir(parents=True)
        for i in range(2):
            pixels = (images[2 * k + i].permute(1, 2, 0) * 255).byte().numpy()
            Image.fromarray(pixels).save(tmp_path / "images" / "test" / str(k) / f"{i}.png")
    torch.save(network(images).state_dict(), tmp_path / "own.pth")
    found = evaluate_target(
        "resnet18",
        tmp_path / "out",
        Evaluation(**SETTINGS),
        data=str(tmp_path / "images"),
        weights=str(tmp_path / "own.pth"),
        num_classes=10,
        input_size=(3, 32, 32),
        model_args=ARGS,
    )
    (said,) = [n for n in found.notes if "is not recorded" in n]
    assert "normalised by mean 0.485, 0.456, 0.406" in said and "as resnet18 is configured" in said


def test_a_normalisation_that_is_not_the_configurations_is_told_by_fit_and_by_evaluate(images):
    from surgeon.data import Images
    from surgeon.errors import CalibrationWarning
    from surgeon.evaluation import Attack, Normalized, evaluate
    from surgeon.models import normalization_of
    from surgeon.recipe import Training
    from surgeon.training import fit

    model = network(images)
    mean, std = normalization_of(model)
    labels = torch.arange(len(images)) % 10
    attacks = [Attack(name="fgsm", kind="fgsm", eps=0.01)]

    def warned(normalize):
        said = []
        for do in (
            lambda: fit(model, Images(images, labels), None, settings, normalize=normalize, **quiet),
            lambda: evaluate(Normalized(model, *(normalize or ())), images, labels, attacks),
        ):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                do()
            said.append([str(w.message) for w in seen if w.category is CalibrationWarning])
        return said

    settings, quiet = Training(epochs=0, batch_size=8), {"device": "cpu", "progress": False}
    assert warned((mean, std)) == [[], []]
    for other in ((std, mean), None):
        (by_fit,), (by_evaluate,) = warned(other)
        assert "by the configuration of resnet18, which surgeon.save writes" in by_fit
        assert "if it was trained so, give surgeon.evaluation.Normalized(model, (0.485" in by_evaluate
