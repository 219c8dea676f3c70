"""What a folder says of its network is heard where the file of its weights is given alone: how images are normalised,
and what it has that the network of a name has not."""

import json
import re
import shutil
import warnings

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactWarning, ModelError
from surgeon.evaluation import assess
from surgeon.models import normalization_of
from surgeon.models.facts import assumes_normalization
from surgeon.models.preparation import resized_otherwise, trained_on_stretched
from surgeon.pipeline.prepared import not_recorded
from surgeon.pipeline.starting import own_size
from surgeon.recipe import Data
from tests.cli.commandline import invoke

for package in ("accelerate", "sklearn", "torchattacks", "pyarrow"):
    pytest.importorskip(package)

LENET = ["zoo/lenet5", "--input-size", "1,28,28"]
SAID = ["--mean", "0.5", "--std", "0.25"]
QUICK = ["--suite", "basic", "--samples", "16", "--set", "attacks=[fgsm]", "--set", "pictures=false"]
BY_RECORD = "was trained without a normalisation, as its record says"
UNKNOWN = "how the images of its training were normalised is not recorded"


def run(*command):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        code, out, err = invoke(*command)
    assert code == 0, err
    return " ".join([*out.split(), *err.split(), *(str(w.message) for w in said)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs: one of normalised images, one of pixels."""
    place = tmp_path_factory.mktemp("runs")
    train = ["train", "plain", *LENET, "--epochs", "1"]
    run(*train, *SAID, "-o", place / "normalised")
    run(*train, "-o", place / "pixels")
    return place


def test_weights_in_a_folder_have_its_normalisation(tmp_path):
    made = surgeon.create_model("resnet10t", num_classes=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    weights = surgeon.save(made, tmp_path / "net") / "model.safetensors"
    again = surgeon.create_model("resnet10t", num_classes=3, weights=str(weights))
    assert normalization_of(again) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    with pytest.raises(ModelError, match=r"config\.json says that images are normalised by mean=\(0\.1"):
        surgeon.create_model(
            "resnet10t", num_classes=3, weights=str(weights), mean=(0.5,) * 3, std=(0.5,) * 3
        )
    for damaged in ('{"pretrained_cfg": {"mean": ["a"], "std": [1]}}', "[", "[]", '{"pretrained_cfg": 3}'):
        (tmp_path / "net" / "config.json").write_text(damaged)
        other = surgeon.create_model("resnet10t", num_classes=3, weights=str(weights))
        assert normalization_of(other) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_weights_in_a_folder_have_its_size_and_its_way_of_resizing(tmp_path):
    made = network()
    trained_on_stretched(made)
    weights = str(surgeon.save(made, tmp_path / "net") / "model.safetensors")
    again = surgeon.create_model("resnet10t", num_classes=3, weights=weights)
    assert surgeon.models.input_size_of(again) == (3, 32, 32) and not resized_otherwise(again)
    assert own_size("resnet10t", Data(), (), weights) == (3, 32, 32)
    other = surgeon.create_model("resnet10t", num_classes=3, weights=weights, input_size=(3, 64, 64))
    assert surgeon.models.input_size_of(other) == (3, 64, 64)
    config, default = (
        tmp_path / "net" / "config.json",
        surgeon.models.input_size_of(surgeon.create_model("resnet10t")),
    )
    said = json.loads(config.read_text())
    for size in ([3, 32], [3, 32, True], "32", [3, -1, 32], None):
        config.write_text(json.dumps(said | {"pretrained_cfg": {"input_size": size}}))
        plain = surgeon.create_model("resnet10t", num_classes=3, weights=weights)
        assert surgeon.models.input_size_of(plain) == default


@pytest.mark.parametrize("file", ["trained/model.safetensors", "training/best.safetensors"])
def test_every_command_takes_it(trained, tmp_path, file):
    weights = trained / "normalised" / file
    given = [*LENET, "--weights", weights]
    run("apply", "kap", *given, "-o", tmp_path / "cut")
    run("train", "plain", *given, "--data", "digits", "--epochs", "1", "-o", tmp_path / "tuned")
    run("convert", "kap", weights, "--model", *LENET, "--data", "digits", "-o", tmp_path / "converted")
    for name in ("cut", "tuned/trained", "converted"):
        assert normalization_of(surgeon.load(tmp_path / name)) == ((0.5,), (0.25,)), name
    said = run("evaluate", *given, "--data", "digits", *QUICK, "-o", tmp_path / "evaluation")
    assert UNKNOWN not in said and BY_RECORD not in said
    record = surgeon.evaluation.read_assessment(tmp_path / "evaluation")
    assert (record.subject.mean, record.subject.std) == ((0.5,), (0.25,))


def test_a_normalisation_that_the_record_contradicts_is_told_by_every_command(trained, tmp_path):
    pixels = trained / "pixels"
    commands = [
        ["apply", "kap", pixels],
        ["convert", "kap", pixels, "--data", "digits"],
        ["train", "plain", pixels, "--epochs", "1"],
        ["evaluate", pixels, *QUICK],
        ["apply", "kap", *LENET, "--weights", pixels / "trained" / "model.safetensors"],
    ]
    for k, command in enumerate(commands):
        assert BY_RECORD in run(*command, *SAID, "-o", tmp_path / f"{k}"), command
        assert BY_RECORD not in run(*command, "-o", tmp_path / f"{k}-without"), command


def test_a_guess_stays_one_through_a_conversion(trained, tmp_path):
    shutil.copy(trained / "normalised" / "trained" / "model.safetensors", tmp_path / "w.safetensors")
    convert = ["convert", "kap", tmp_path / "w.safetensors", "--model", *LENET, "--data", "digits"]
    assert UNKNOWN in run(*convert, "-o", tmp_path / "guessed")
    evaluate = ["evaluate", tmp_path / "guessed", "--data", "digits", *QUICK]
    assert UNKNOWN in run(*evaluate, "-o", tmp_path / "one")
    said = run(*evaluate, *SAID, "-o", tmp_path / "two")
    assert UNKNOWN not in said and BY_RECORD not in said
    assert UNKNOWN not in run(*convert, *SAID, "-o", tmp_path / "told")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normalization_of(surgeon.load(tmp_path / "told")) == ((0.5,), (0.25,))


def network(**more):
    return surgeon.create_model("resnet10t", num_classes=3, input_size=(3, 32, 32), **more)


def surgery(recipe):
    return lambda: surgeon.apply(network(), recipe, input_size=(3, 32, 32))


def changed():
    made = network()
    made.layer1[0].conv1.stride = (2, 2)
    made.layer1[0].downsample = torch.nn.AvgPool2d(2)
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (surgery("kwta"), r"of a network with surgery \(kwta\), which resnet10t is made without"),
        (surgery("noise"), r"surgery \(noise\)"),
        (
            lambda: network(model_args={"act_layer": "gelu"}),
            r"made with act_layer='gelu', and resnet10t is made",
        ),
        (changed, r"changes at layer1\.0"),
        (
            lambda: surgeon.create_model("tf_mobilenetv3_small_075", num_classes=3),
            r"holds the weights of tf_mobilenetv3_small_075, and mobilenetv3_small_075 is made here",
        ),
        (network, ""),
        (lambda: surgeon.fold(surgery("kap")()), ""),
        (lambda: surgeon.revert(surgery("kwta")()), ""),
    ],
)
def test_what_its_network_has_beside_weights_is_told(made, said, tmp_path):
    stock = made()
    weights = surgeon.save(stock, tmp_path / "net") / "model.safetensors"
    name = surgeon.models.name_of(stock).removeprefix("tf_")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        surgeon.create_model(name, num_classes=3, weights=str(weights))
    texts = [str(w.message) for w in heard if "holds the weights of" in str(w.message)]
    assert len(texts) == bool(said)
    assert not said or re.search(said, texts[0])


def test_an_evaluation_of_such_weights_has_a_note(tmp_path):
    cut = surgeon.apply(surgeon.create_model(LENET[0], input_size=(1, 28, 28)), "kwta")
    weights = surgeon.save(cut, tmp_path / "net") / "model.safetensors"
    run("evaluate", *LENET, "--weights", weights, "--data", "digits", *QUICK, "-o", tmp_path / "out")
    notes = surgeon.evaluation.read_assessment(tmp_path / "out").notes
    assert any("surgery (kwta)" in note for note in notes)


def test_the_default_of_a_name_stays_a_guess_until_somebody_says_it_or_trains_with_it(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pth")
    guessed = network(weights=str(tmp_path / "w.pth"))
    cut = surgeon.apply(guessed, "noise", input_size=(3, 32, 32))
    for made in (guessed, cut, surgeon.revert(cut), surgeon.fold(surgeon.apply(guessed, "kap"))):
        folder = surgeon.save(made, tmp_path / "net", overwrite=True)
        again = surgeon.load(folder)
        assert assumes_normalization(again)
        (said,) = not_recorded(str(folder), again, lineage=(), weights=None, normalised=False)
        assert said.startswith(UNKNOWN)
        file = str(folder / "model.safetensors")
        if surgeon.surgery_of(made) is None:
            again = network(weights=file)
            assert assumes_normalization(again)
            assert normalization_of(network(weights=file, mean=(0.5,) * 3, std=(0.5,) * 3)) == (
                (0.5,) * 3,
                (0.5,) * 3,
            )
        (said,) = not_recorded("resnet10t", again, lineage=(), weights=file, normalised=False)
        assert said.startswith(UNKNOWN)
    other = surgeon.models.normalisation.as_said(again, (0.5,) * 3, (0.5,) * 3, record=str(folder))
    assert normalization_of(other) == ((0.5,) * 3, (0.5,) * 3)
    assert not assumes_normalization(surgeon.load(surgeon.save(other, tmp_path / "said")))
    with pytest.raises(ModelError, match="says otherwise"):
        surgeon.models.normalisation.as_said(other, (0.1,) * 3, (0.5,) * 3, record="net")
    assert not assumes_normalization(network())  # random weights, of no images


def test_a_training_settles_it(trained, tmp_path):
    shutil.copy(trained / "normalised" / "trained" / "model.safetensors", tmp_path / "w.safetensors")
    given = [*LENET, "--weights", tmp_path / "w.safetensors", "--data", "digits", "--epochs", "1"]
    run("train", "plain", *given, "-o", tmp_path / "run")
    assert not assumes_normalization(surgeon.load(tmp_path / "run" / "trained"))


def test_an_argument_that_only_this_call_has_is_told(tmp_path):
    weights = str(surgeon.save(network(), tmp_path / "net") / "model.safetensors")
    with pytest.warns(ArtifactWarning, match="made with no act_layer, and resnet10t is made here otherwise"):
        network(weights=weights, model_args={"act_layer": "gelu"})


def test_another_size_than_that_of_the_record_has_a_note(tmp_path):
    made = surgeon.create_model("resnet10t", num_classes=10, input_size=(3, 32, 32))
    weights = surgeon.save(made, tmp_path / "net") / "model.safetensors"
    for k, subject in enumerate(
        [[tmp_path / "net"], ["resnet10t", "--num-classes", "10", "--weights", weights]]
    ):
        given = ["evaluate", *subject, "--data", "digits", *QUICK]
        run(*given, "-o", tmp_path / f"same{k}")
        run(*given, "--input-size", "3,48,48", "-o", tmp_path / f"other{k}")
        notes = [surgeon.evaluation.read_assessment(tmp_path / f"{n}{k}").notes for n in ("same", "other")]
        assert [sum("images are 48×48 here" in note for note in n) for n in notes] == [0, 1]


def test_load_weights_tells_what_the_folder_says_otherwise(tmp_path):
    """`load_weights` into a network that was made before takes tensors alone."""
    made = surgeon.create_model(
        "resnet10t", num_classes=3, mean=(0.1,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32)
    )
    trained_on_stretched(made)
    weights = surgeon.save(made, tmp_path / "net") / "model.safetensors"
    plain = surgeon.create_model("resnet10t", num_classes=3)
    with pytest.warns(ArtifactWarning) as said:
        surgeon.load_weights(plain, weights)
    (text,) = {str(w.message) for w in said}
    assert (
        "trained on images normalised by mean=(0.1, 0.1, 0.1) and std=(0.5, 0.5, 0.5), as its folder says"
        in text
    )
    assert "its images are of 3×32×32, and the network is configured for 3×176×176" in text
    assert "another way of resizing" in text
    same = surgeon.create_model("resnet10t", num_classes=3, weights=str(weights))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surgeon.load_weights(same, weights)  # as that is configured
        shutil.copy(weights, tmp_path / "alone.safetensors")
        surgeon.load_weights(plain, tmp_path / "alone.safetensors")  # nothing beside says anything


def test_load_weights_tells_of_layers_and_of_pixels(tmp_path):
    pixels = surgeon.create_model("zoo/lenet5")
    weights = surgeon.save(surgeon.apply(pixels, "kwta"), tmp_path / "cut") / "model.safetensors"
    plain = surgeon.create_model("zoo/lenet5", mean=(0.5,), std=(0.25,))
    with pytest.warns(ArtifactWarning, match=r"surgery \(kwta\).*trained on pixels in \[0, 1\]"):
        surgeon.load_weights(plain, weights)


def test_a_network_that_is_given_for_a_folder_has_its_size_and_resizing_too(tmp_path):
    """`surgeon.load(folder, model=…)` took the normalisation alone."""
    made = network()
    trained_on_stretched(made)
    folder = surgeon.save(surgeon.apply(made, "noise"), tmp_path / "cut")
    given = surgeon.create_model("resnet10t", num_classes=made.num_classes, mean=(0.5,) * 3, std=(0.5,) * 3)
    loaded = surgeon.load(folder, model=given)
    assert surgeon.models.input_size_of(loaded) == (3, 32, 32) and not resized_otherwise(loaded)
    assert normalization_of(loaded) == normalization_of(made)


def test_a_source_has_the_remarks_that_a_target_has(tmp_path):
    """Attacks from a network that is given other images than it was trained on say little of it."""
    made = {
        side: surgeon.create_model("test_resnet", num_classes=10, in_chans=1, input_size=(1, side, side))
        for side in (16, 24)
    }
    trained_on_stretched(made[16])
    target = surgeon.save(made[16], tmp_path / "target")
    made[24].__dict__["surgeon_origin"]["assumed"] = True
    source = surgeon.save(made[24], tmp_path / "source")
    run("evaluate", target, "--data", "digits", "--source", source, *QUICK, "-o", tmp_path / "found")
    notes = json.loads((tmp_path / "found" / "evaluation.json").read_text())["notes"]
    of_source = " ".join(n for n in notes if n.startswith("source source: "))
    assert (
        "images are 16×16 here, and those that the record of" in of_source and "tells of 24×24" in of_source
    )
    assert "images are stretched to 16×16" in of_source
    assert "how the images of its training were normalised is not recorded" in of_source
    assert not any(n.startswith("source target") for n in notes)


def test_what_an_evaluation_warns_of_is_among_its_notes(tmp_path):
    """A log is lost, and the numbers are read without it."""
    images = torch.rand(16, 1, 28, 28) * 0.05
    settings = surgeon.recipe.Evaluation(suite="basic", attacks=["fgsm"], diagnostics=0, pictures=False)
    with pytest.warns(UserWarning, match="brightest pixel of 16 images"):
        dark = assess(network_of_gray(), images, torch.arange(16) % 10, settings, tmp_path / "dark")
    assert [n for n in dark.notes if "brightest pixel of 16 images" in n]
    again = assess(network_of_gray(), images, torch.arange(16) % 10, settings, tmp_path / "dark")
    assert again.notes == dark.notes


def network_of_gray():
    torch.manual_seed(0)
    return surgeon.create_model("zoo/lenet5")


@pytest.mark.parametrize("cut", [False, True])
def test_timms_name_of_a_folder_of_surgeons_is_refused(tmp_path, cut):
    """timm reads neither the surgery nor the changes."""
    made = network()
    folder = surgeon.save(surgeon.apply(made, "kwta") if cut else made, tmp_path / "net")
    for scheme in ("local-dir", "local_dir"):
        with pytest.raises(ModelError, match="is a folder that surgeon wrote, .*: give the folder itself, "):
            surgeon.create_model(f"{scheme}:{folder}", pretrained=True)
    code, _, err = invoke("plan", "kap", f"local-dir:{folder}")
    assert code == 2 and f"give the folder itself, {folder}" in err


def test_the_note_of_a_fold_in_part_goes_with_the_file(tmp_path):
    half = surgeon.apply(network(), {"op": "kap", "start": "anneal"})
    surgeon.training.anneal(half, 0.5)
    with pytest.warns(surgeon.errors.SurgeryWarning):
        folder = surgeon.save(surgeon.fold(half), tmp_path / "folded")
    name, classes = "resnet10t", half.num_classes
    with pytest.warns(ArtifactWarning, match="what was folded in is this part of it"):
        surgeon.create_model(name, num_classes=classes, weights=str(folder / "model.safetensors"))


def test_a_gray_network_that_was_trained_on_pixels_says_so_in_timms_words(tmp_path):
    """timm keeps ImageNet's three numbers for a network of one channel, and its own transform then fails."""
    from timm.data import create_transform, resolve_data_config

    gray = surgeon.create_model("test_resnet", num_classes=10, in_chans=1, input_size=(1, 16, 16))
    trained_on_stretched(gray)
    said = json.loads((surgeon.save(gray, tmp_path / "net") / "config.json").read_text())["pretrained_cfg"]
    assert (said["mean"], said["std"]) == ([0.0], [1.0])
    transform = create_transform(**resolve_data_config(said, verbose=False))
    pixels = torch.rand(1, 16, 16)
    assert torch.equal(transform.transforms[-1](pixels), pixels)
    again = surgeon.load(tmp_path / "net")
    assert torch.equal(surgeon.models.normalized(pixels[None], again), pixels[None])
