"""`surgeon convert`: checkpoints and images that do not fit, and by what a checkpoint is known at a second call."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

import surgeon
from tests.chain.changes import SIZE, changed, failures, pictures, repainted, verified
from tests.cli.commandline import invoke

OF = ["--model", "zoo/lenet5", "--in-chans", "1", "--input-size", "1,32,32"]
FEW = ["--samples", "4", "--calibration-count", "8"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("images") / "two")


def network(classes):
    torch.manual_seed(5)
    return surgeon.create_model("zoo/lenet5", num_classes=classes, in_chans=1, input_size=SIZE)


def weights(path, classes=2):
    save_file(network(classes).state_dict(), path)
    return path


def convert(*args):
    code, _, err = invoke("convert", "kap", *args)
    return code, err.splitlines()[-1] if code else err


def test_classes_that_do_not_fit_are_refused_in_the_words_of_evaluate(images, tmp_path):
    one, three = weights(tmp_path / "one.safetensors", 1), network(3)
    surgeon.save(three, tmp_path / "three")
    for checkpoint, more in ((one, [*OF, "--num-classes", "1"]), (tmp_path / "three", [])):
        code, said = convert(checkpoint, *more, "--data", images, *FEW, "-o", tmp_path / "out")
        given = (
            ["zoo/lenet5", "--weights", checkpoint, "--input-size", "1,32,32", *more[-2:]]
            if more
            else [checkpoint]
        )
        asked, _, err = invoke("evaluate", *given, "--data", images, "--samples", 4, "-o", tmp_path / "own")
        assert code == asked == 2
        assert said.replace(str(checkpoint), "IT") == err.splitlines()[-1].replace(str(given[0]), "IT")
        assert not (tmp_path / "out").exists()
    assert "has 2 classes, and" in said and "say so by num_classes=3 (--num-classes 3)" in said
    said_so = ["--data", images, *FEW, "--num-classes", "3", "-o", tmp_path / "meant"]
    assert convert(tmp_path / "three", *said_so)[0] == 0


def test_labels_without_names_that_are_no_output_are_refused(tmp_path):
    from surgeon.errors import DataError
    from surgeon.pipeline.demands import check_labels

    check_labels(torch.tensor([0, 2]), 3)
    check_labels(torch.tensor([7]), None)
    with pytest.raises(DataError, match="labels run from 0 to 3, the model has 3 classes"):
        check_labels(torch.tensor([0, 3]), 3)


def test_a_name_has_random_weights_and_is_no_checkpoint(images, tmp_path):
    code, said = convert(
        "zoo/lenet5", "--num-classes", "2", *OF[2:], "--data", images, *FEW, "-o", tmp_path / "out"
    )
    assert code == 2 and not (tmp_path / "out").exists()
    assert said == (
        "Error: zoo/lenet5 is the name of a network with random weights, and convert cuts trained ones: give a file "
        "of weights with --model zoo/lenet5, or a model's folder; `surgeon apply` cuts a new network"
    )


def test_notes_call_a_file_of_weights_by_its_name(images, tmp_path):
    file = weights(tmp_path / "w.safetensors")
    code, err = convert(file, *OF, "--num-classes", "2", "--data", images, *FEW, "-o", tmp_path / "out")
    assert code == 0, err
    notes = json.loads((tmp_path / "out" / "conversion.json").read_text())["notes"]
    assert any(str(file) in n for n in notes)
    # of the network's name it is said how images are normalised by default
    assert not any("zoo/lenet5" in n and "is configured" not in n for n in notes)


def test_the_configuration_of_a_folder_is_part_of_a_checkpoint(images, tmp_path):
    surgeon.save(network(2), tmp_path / "stock")
    command = [tmp_path / "stock", "--data", images, *FEW, "-o", tmp_path / "out"]
    assert convert(*command)[0] == 0
    assert failures(verified(tmp_path / "out")) == set()
    config = tmp_path / "stock" / "config.json"
    other = json.loads(config.read_text())
    other["pretrained_cfg"] |= {"mean": [0.5], "std": [0.1]}
    with changed(config, json.dumps(other).encode()):
        code, said = convert(*command)
        assert code == 2 and "other settings (the checkpoint's configuration)" in said
        assert failures(verified(tmp_path / "out")) == {"checkpoint"}
    assert convert(*command)[0] == 0


def test_a_runs_folder_is_known_by_the_network_that_it_trained(images, tmp_path):
    surgeon.save(network(2), tmp_path / "run" / "trained")
    from surgeon.pipeline.checkpoint import held

    there = held(tmp_path / "run", lambda: pytest.fail("made for nothing"))
    assert there == held(tmp_path / "run" / "trained", lambda: pytest.fail("made for nothing"))
    assert len(there.weights) == len(there.config) == 64


def test_own_code_is_known_by_the_weights_that_it_makes(images, tmp_path, monkeypatch):
    file = weights(tmp_path / "w.safetensors")
    (tmp_path / "converted_net.py").write_text(
        "import surgeon\n\n\ndef make():\n    return surgeon.create_model("
        f"'zoo/lenet5', num_classes=2, in_chans=1, input_size=(1, 32, 32), weights={str(file)!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["converted_net:make", "--input-size", "1,32,32", "--data", images, *FEW, "-o", "out"]
    code, err = convert(*command)
    assert code == 0, err
    assert convert(*command)[0] == 0
    asked = ["verify", "out", "--allow-code", "converted_net"]
    assert invoke(*asked)[0] == 0
    unasked = verified("out")["checkpoint"]
    assert unasked.ok is None and "converted_net is code" not in unasked.detail
    assert "is code, and nothing was imported" in unasked.detail
    save_file({k: v + 1 for k, v in network(2).state_dict().items()}, file)
    code, said = convert(*command)
    assert code == 2 and "other settings (the checkpoint itself)" in said
    code, text, _ = invoke(*asked)
    assert code == 1 and "does not make what was converted any more" in " ".join(text.split())


def test_a_refused_second_call_leaves_the_conversions_as_they_are(images, tmp_path):
    data, many, out = tmp_path / "data", tmp_path / "many", tmp_path / "out"
    shutil.copytree(images, data)
    many.mkdir()
    for name in ("a", "b"):
        weights(many / f"{name}.safetensors")
    command = [many, *OF, "--num-classes", "2", "--data", data, "--calibration-count", "8", "-o", out]
    assert convert(*command)[0] == 0
    before = (out / "conversions.json").read_bytes()
    picture = data / "test" / "dark" / "0.png"
    with changed(picture, repainted(picture)):
        code, said = convert(*command)
        assert code == 2 and "holds a conversion with other settings (test images: " in said
        assert (out / "conversions.json").read_bytes() == before
    shutil.move(data, tmp_path / "elsewhere")
    assert convert(*command)[0] == 2
    assert (out / "conversions.json").read_bytes() == before
    shutil.move(tmp_path / "elsewhere", data)
    save_file({k: v + 1 for k, v in network(2).state_dict().items()}, many / "a.safetensors")
    code, said = convert(*command)
    assert code == 2 and "1 of 2 checkpoints were not converted" in said
    first, second = json.loads((out / "conversions.json").read_text())
    error = first.pop("error")
    assert "the checkpoint itself" in error and [first, second] == json.loads(before)
    checks = verified(out)
    assert failures(checks) == {"a/checkpoint"}
    assert checks["conversions.json"].detail == "2 conversions, 1 refused at the last call"
    weights(many / "a.safetensors")
    assert convert(*command)[0] == 0 and (out / "conversions.json").read_bytes() == before


def test_test_images_that_the_cut_was_fitted_to_are_a_remark(images, tmp_path):
    held = weights(tmp_path / "w.safetensors")
    told = {}
    for name in ("test", "train"):
        out = tmp_path / f"out-{name}"
        code, said = convert(
            held,
            *OF,
            "--num-classes",
            "2",
            "--data",
            images,
            "--calibration",
            f"{images}/{name}",
            *FEW,
            "-o",
            out,
        )
        assert code == 0, said
        told[name] = json.loads((out / "conversion.json").read_text())["notes"]
    assert any("test images are pixel by pixel among the calibration images" in n for n in told["test"])
    assert not any("calibration images, to which" in n for n in told["train"])


def test_without_test_images_the_drift_is_of_those_held_out(images, tmp_path):
    held = weights(tmp_path / "w.safetensors")
    code, said = convert(
        held, *OF, "--num-classes", "2", "--calibration", f"{images}/train", "-o", tmp_path / "out"
    )
    assert code == 0, said
    kept = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert (
        kept["drift"]["images"]
        == kept["choice"]["held_out"]
        < kept["calibration"] + kept["choice"]["held_out"]
    )
