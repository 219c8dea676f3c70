"""What is told of a run is of its network: another one in its place, images seen twice, classes without images."""

import json
import shutil

import numpy
import pytest
import torch
from PIL import Image

import surgeon
from surgeon.errors import ArtifactError, ModelError, RecipeError
from surgeon.pipeline.lineage import lineage_of
from surgeon.recipe import Evaluation, load_recipe
from tests.chain.changes import exchanged
from tests.cli.commandline import invoke

for package in ("accelerate", "torchattacks"):
    pytest.importorskip(package)
NET, SIZE = "zoo/lenet5", (1, 28, 28)
BASIC = Evaluation(attacks=("fgsm",), eps=0.01, samples=12)


def pictures(folder, classes, seed):
    draw = numpy.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(draw.integers(0, 255, (28, 28), dtype="uint8")).save(folder / name / f"{i}.png")


def trained(folder, data, model=NET, more=(), **given):
    from surgeon.pipeline import train

    recipe = load_recipe("plain", ["training.epochs=1", "training.batch_size=4", *more])
    return train(
        [recipe], str(model), folder, **{"input_size": SIZE, "device": "cpu", "data": str(data), **given}
    ).folder


def evaluated(target, folder, **given):
    from surgeon.pipeline import evaluate_target

    return evaluate_target(str(target), folder, BASIC, **{"device": "cpu", "input_size": SIZE, **given})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two of the twelve test images are training images; no test image is of the class c."""
    place = tmp_path_factory.mktemp("data")
    pictures(place / "train", "abc", 0)
    pictures(place / "val", "abc", 2)
    pictures(place / "test", "ab", 1)
    for i in (0, 1):
        shutil.copy(place / "train" / "a" / f"{i}.png", place / "test" / "b" / f"{i}.png")
    (place / "test" / "c").mkdir()
    return place


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "run", data)


def test_another_network_in_a_runs_place_is_not_evaluated_as_the_runs(run, data, tmp_path):
    other = surgeon.load(run / "trained")
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    for name, put in (
        ("folder", lambda trained: exchanged(other, trained)),
        ("file", lambda trained: shutil.copy(run / "cut" / "model.safetensors", trained)),
    ):
        copy = shutil.copytree(run, tmp_path / name / "run")
        evaluated(copy, tmp_path / name / "before")
        put(copy / "trained")
        for target in (copy, copy / "trained"):
            with pytest.raises(
                ArtifactError, match="does not hold the network that the run .* was trained to"
            ):
                evaluated(target, tmp_path / name / "after")
        with pytest.raises(ArtifactError, match="does not hold the network"):
            trained(tmp_path / name / "on", data, copy / "trained")
        with pytest.raises(ArtifactError, match="does not hold the network"):
            trained(copy, data)
        for command in (["export"], ["doctor"], ["inspect"], ["plan", "kap"]):
            for target in (copy, copy / "trained"):
                more = ["-o", tmp_path / "x.onnx"] if command == ["export"] else []
                code, out, err = invoke(*command, target, *more)
                assert (code, out) == (2, "") and "does not hold the network that the run" in err, command
        shutil.rmtree(copy / "training")  # nothing is left to compare with
        lineage_of(copy)
    alone = shutil.copytree(run / "trained", tmp_path / "alone")  # no run is left to compare with
    shutil.copy(run / "cut" / "model.safetensors", alone)
    with pytest.raises(ArtifactError, match="has changed since it was written"):
        evaluated(alone, tmp_path / "of alone")


def test_images_that_were_trained_on_and_classes_without_images_are_remarks(run, data, tmp_path):
    from surgeon.pipeline import run as run_all

    given = {"input_size": SIZE, "device": "cpu", "data": str(data)}
    recipe = load_recipe("plain", ["training.epochs=1", "training.batch_size=4"])
    whole = recipe.model_copy(update={"evaluation": BASIC})
    for found in (evaluated(run, tmp_path / "e"), run_all([whole], NET, tmp_path / "run", **given)):
        notes = " ".join(found.notes)
        assert "2 of the 8 test images are pixel by pixel among the images" in notes
        assert "no test image is of 1 of the 3 classes (c)" in notes
    alike = data.parent / "apart"
    shutil.copytree(data, alike)
    for i in (0, 1):
        shutil.copy(alike / "test" / "a" / "2.png", alike / "test" / "b" / f"{i}.png")
    shutil.copytree(alike / "test" / "a", alike / "test" / "c", dirs_exist_ok=True)
    found = evaluated(trained(tmp_path / "clean", alike), tmp_path / "f")
    assert not any("pixel by pixel" in n or "no test image" in n for n in found.notes)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"pretrained": True}, "pretrained="),
        ({"model_args": {"width": 2}}, "model_args="),
        ({"weights": "x.safetensors"}, "weights="),
    ],
)
def test_arguments_of_a_model_by_name_are_refused_for_a_folder(run, data, tmp_path, given, named):
    for job in (trained, lambda folder, data, model, **how: evaluated(model, folder, **how)):
        with pytest.raises(ModelError, match=f"which fixes its network: {named}"):
            job(tmp_path / "on", data, run / "trained", **given)
        assert not (tmp_path / "on").exists()


def test_the_size_of_images_is_said_in_one_way(data, tmp_path):
    for more, named in (
        (["data.size=[8,8]"], "data.size=\\[8, 8\\]"),
        (["data.grayscale=false"], "data.grayscale=false"),
    ):
        with pytest.raises(RecipeError, match=f"input_size=.* and {named} contradict"):
            trained(tmp_path / "r", data, more=more)
        assert not (tmp_path / "r").exists()
    trained(tmp_path / "r", data, more=["data.size=[28,28]", "data.grayscale=true"])


def test_a_network_loaded_and_saved_again_keeps_its_lineage_while_its_weights_are_the_same(run, tmp_path):
    network = surgeon.load(run / "trained")
    surgeon.save(network, tmp_path / "same")
    was, now = (
        json.loads((folder / "lineage.json").read_text()) for folder in (run / "trained", tmp_path / "same")
    )
    assert was == now and lineage_of(tmp_path / "same")[0].data == lineage_of(run)[0].data
    with torch.no_grad():
        next(network.parameters()).data.add_(1e-3)
    surgeon.save(network, tmp_path / "other")
    assert not (tmp_path / "other" / "lineage.json").exists()


def test_a_page_is_made_of_an_untouched_evaluation(run, tmp_path):
    pytest.importorskip("jinja2")
    from surgeon.report import report

    evaluated(run, tmp_path / "e")
    report([tmp_path / "e"], tmp_path / "before.html")
    for name, old, new in (
        ("settings.json", '"seed": 0', '"seed": 1'),
        ("evaluation.json", "upper bound", "lower bound"),
    ):
        path = tmp_path / "e" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ArtifactError, match=f"{name} was changed after the evaluation had ended"):
            report([tmp_path / "e"], tmp_path / "after.html")
        path.write_text(text)
    report([tmp_path / "e"], tmp_path / "after.html")


def test_no_page_shows_the_evaluation_of_another_network_as_a_runs(run, tmp_path):
    pytest.importorskip("jinja2")
    from surgeon.report import report

    copy = shutil.copytree(run, tmp_path / "run")
    evaluated(copy, copy / "evaluation")
    report([copy], tmp_path / "own.html")
    other = surgeon.load(run / "trained")
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    surgeon.save(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", copy / "trained")
    for place in (copy, copy / "evaluation"):
        with pytest.raises(
            ArtifactError, match=r"evaluation is the evaluation of other weights .* than the run"
        ):
            report([place], tmp_path / "page.html")


def test_a_finished_evaluation_keeps_its_name_and_says_so_where_the_network_is_called_otherwise(
    run, tmp_path, capsys
):
    found = evaluated(run, tmp_path / "e")
    capsys.readouterr()
    again = evaluated(shutil.copytree(run, tmp_path / "renamed"), tmp_path / "e")
    assert (found.subject.name, again) == ("run", found)
    assert capsys.readouterr().err.count("is finished, and calls the network 'run'\n") == 1


def test_a_runs_folder_stands_for_its_network_in_every_command(data, tmp_path):
    from tests.cli.commandline import invoke

    run = tmp_path / "cut-and-trained"
    recipe = load_recipe("kap", ["training.epochs=1", "training.batch_size=4"])
    from surgeon.pipeline import train

    train([recipe], NET, run, data=str(data), input_size=SIZE, device="cpu")
    whole, inside = surgeon.load(run), surgeon.load(run / "trained")
    assert all(torch.equal(v, inside.state_dict()[k]) for k, v in whole.state_dict().items())
    for name, *more in (
        ("inspect",),
        ("doctor",),
        ("fold", "-o", tmp_path / "folded"),
        ("revert", "-o", tmp_path / "back"),
        ("export", "--format", "torch-export", "-o", tmp_path / "x.pt2"),
    ):
        code, _, err = invoke(name, run, *more)
        assert code == 0, (name, err)
    assert lineage_of(tmp_path / "folded") == lineage_of(run)
    further = trained(tmp_path / "further", data, run)
    assert json.loads((further / "settings.json").read_text())["model"] == str((run / "trained").resolve())
    again = trained(tmp_path / "again", data, run / "trained")
    weights = [(f / "trained" / "model.safetensors").read_bytes() for f in (further, again)]
    assert weights[0] == weights[1]
    code, out, err = invoke("verify", further)
    assert code == 0, out + err


def test_a_run_that_was_not_trained_yet_says_where_its_network_is(tmp_path, run):
    begun = shutil.copytree(run, tmp_path / "begun")
    shutil.rmtree(begun / "trained")
    with pytest.raises(ArtifactError, match="is a run that is not finished"):
        surgeon.load(begun)


def test_a_folders_network_is_trained_on_digits_of_its_own_size(tmp_path):
    small = {"channels": (8, 8, 8, 8)}
    network = surgeon.create_model("resnet18", num_classes=10, input_size=(1, 16, 16), model_args=small)
    model = surgeon.save(network, tmp_path / "network")
    run = trained(tmp_path / "run", "digits", model, input_size=None, seed=1)
    assert json.loads((run / "settings.json").read_text())["size"] == [1, 16, 16]


def test_two_callers_of_one_evaluation_both_have_its_page(tmp_path, capsys, monkeypatch):
    """The second one finds the evaluation complete while the first draws its page, and writes the page before it."""
    for package in ("torchattacks", "jinja2", "matplotlib"):
        pytest.importorskip(package)
    from surgeon.disk.hashes import own_hash
    from surgeon.evaluation import assess
    from surgeon.pipeline import evaluating
    from surgeon.recipe import Evaluation
    from surgeon.report.origin import origin_of

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    images, labels = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2] * 2)
    folder, report = tmp_path / "e", evaluating.report
    assess(model, images, labels, Evaluation(suite="basic", attacks=("fgsm",), eps=0.1), folder)

    def late(folders, page, **how):
        report(folders, page)
        return report(folders, page, **how)

    capsys.readouterr()
    monkeypatch.setattr(evaluating, "report", late)
    evaluating.add_page(folder)
    assert origin_of(folder / "report.html") == [own_hash(folder / "evaluation.json")]
    assert capsys.readouterr().err == ""


def test_the_page_beside_an_evaluation_that_was_made_again_is_of_it_or_is_told(tmp_path, capsys):
    for package in ("torchattacks", "jinja2", "matplotlib"):
        pytest.importorskip(package)
    from surgeon.disk.hashes import own_hash
    from surgeon.evaluation import assess
    from surgeon.ownership import unsealed
    from surgeon.pipeline.evaluating import add_page
    from surgeon.recipe import Evaluation
    from surgeon.report import report
    from surgeon.report.origin import origin_of

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    images, labels = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2] * 2)
    folder, result = tmp_path / "e", tmp_path / "e/evaluation.json"
    page = folder / "report.html"

    def again(**made):
        result.unlink(missing_ok=True)
        assess(
            model, images, labels, Evaluation(suite="basic", attacks=("fgsm",), eps=0.1), folder, made=made
        )
        capsys.readouterr()
        add_page(folder)
        return own_hash(result), capsys.readouterr().err

    for number in (1, 2):
        of, said = again(machine=f"the {number}")
        assert origin_of(page) == [of] and said == "" and unsealed(folder) == []
    page.write_text(page.read_text() + "<!-- my notes -->")
    add_page(folder)
    assert capsys.readouterr().err == ""
    _, said = again(machine="the third")
    assert f"{page} was not made from the evaluation.json that is there" in said and said.count("\n") == 1
    assert "my notes" in page.read_text()
    shutil.copytree(folder, tmp_path / "other")
    page.unlink()
    report([folder, tmp_path / "other"], page)
    of, said = again(machine="the fourth")
    assert "was not made from" in said and of not in origin_of(page)
