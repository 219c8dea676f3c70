"""The model card says what the record and the evaluation say, and nothing else."""

import json
import shutil

import pytest
import torch

import surgeon
from surgeon import markdown
from surgeon.errors import ArtifactError
from surgeon.publishing import card
from surgeon.results.statistics import wilson
from tests.cli.commandline import invoke
from tests.hub.conftest import SIZE

NAME = "someone/net"


def header(text):
    from huggingface_hub import ModelCard

    return ModelCard(text).data.to_dict()


def test_a_rewritten_network_loads_with_surgeon_and_says_what_was_done(folder, cut):
    text = card.card(folder, NAME)
    assert header(text)["library_name"] == "surgeon"
    assert header(text)["tags"] == ["surgeon", "kap"]
    assert 'surgeon.load("hf-hub:someone/net")' in text
    assert "| edits | 16 × kap |" in text
    assert "arXiv 2210.00062" in text
    assert "| function at the cut | changed |" in text
    assert f"| drift at the cut | {cut.surgery.execution.drift.relative:.2g} of the logits' norm" in text
    assert f"torch {torch.__version__}" in text
    assert "Not evaluated: no evaluation was given with this card." in text
    for invented in ("license", "datasets", "accuracy", "base_model", "robust accuracy"):
        assert invented not in text.lower()


def test_notes_are_without_paths_of_this_machine():
    lines = card._notes(["taken from /home/ann/nets/cut, which moved", "plain", "plain"])
    assert lines[1:] == ["- taken from cut, which moved", "- plain"]


def test_a_folded_network_loads_with_timm_alone(stock):
    text = card.card(stock, NAME)
    assert header(text) == {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["surgeon", "kap"],
    }
    assert 'timm.create_model("hf-hub:someone/net", pretrained=True)' in text
    assert "surgeon.load" not in text
    assert "| folds into a stock checkpoint | folded |" in text
    assert "names and shapes are the stock network's" in text


def test_what_does_not_fold_is_said_with_its_reason(tmp_path):
    model = surgeon.create_model("test_resnet", num_classes=4, input_size=SIZE)
    surgeon.save(surgeon.apply(model, "defective"), tmp_path / "out")
    text = card.card(tmp_path / "out", NAME)
    assert "| folds into a stock checkpoint | no |" in text
    assert "× does not fold: a mask over single neurons has no stock equivalent" in text


def test_a_stock_network_has_no_surgery_in_its_card(tmp_path):
    surgeon.save(surgeon.create_model("test_resnet", num_classes=4), tmp_path / "out")
    text = card.card(tmp_path / "out", NAME)
    assert "No surgery was done on it." in text
    assert "## Surgery" not in text


def test_without_a_headline_the_card_says_why_there_is_none(folder, evaluated):
    from surgeon.evaluation.finished import read_assessment

    found = read_assessment(evaluated)
    text = card.card(folder, NAME, evaluated)
    assert f"Clean accuracy: {100 * found.summary.clean.value:.1f} % [" in text
    assert "No number for robust accuracy can be quoted:" in text
    assert found.summary.refused
    assert all(f"- {markdown.text(reason)}" in text for reason in found.summary.refused)
    assert "Diagnostics: not made." in text
    assert found.subject.weights in text
    assert "Not evaluated" not in text


def test_the_images_are_named_without_paths_of_this_machine(folder, evaluated):
    from types import SimpleNamespace

    said = json.loads((evaluated / "evaluation.json").read_text())["summary"]["clean"]["n"]
    found = SimpleNamespace(
        data={"source": "/home/ann/flowers", "split": "test"},
        summary=SimpleNamespace(clean=SimpleNamespace(n=1200)),
    )
    assert card._images(SimpleNamespace(found=found)) == "1,200 test images of flowers"
    assert f", on {said} test images of " in card.card(folder, NAME, evaluated)


def test_a_headline_is_quoted_as_it_is(folder, evaluated, tmp_path):
    path = shutil.copytree(evaluated, tmp_path / "quoted") / "evaluation.json"
    (path.parent / ".surgeon.json").unlink()  # its seal would not fit
    content = json.loads(path.read_text())
    share = wilson(3, 8).model_dump()
    content["summary"] |= {"headline": {"share": share, "text": "robust accuracy of a test"}, "refused": []}
    path.write_text(json.dumps(content))
    text = card.card(folder, NAME, path.parent)
    assert "**37.5 % [13.7 %, 69.4 %]**: robust accuracy of a test." in text
    assert "No number" not in text


@pytest.mark.parametrize("part", ["clean", "worst"])
def test_a_number_that_was_changed_in_an_evaluation_is_in_no_card(folder, evaluated, tmp_path, part):
    path = shutil.copytree(evaluated, tmp_path / "changed") / "evaluation.json"
    content = json.loads(path.read_text())
    share = content["summary"][part]
    k = (share["k"] + 1) % (share["n"] + 1)
    path.write_text(
        json.dumps({**content, "summary": {**content["summary"], part: {**share, "k": k}}})
    )  # k alone
    with pytest.raises(ArtifactError, match="is not the interval of .*a number was changed"):
        card.card(folder, NAME, path.parent)
    # A share that fits in itself: the seal tells, and without a seal the verdicts do.
    content["summary"][part] = wilson(k, share["n"]).model_dump()
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="was changed after the evaluation had ended"):
        card.card(folder, NAME, path.parent)
    (path.parent / ".surgeon.json").unlink()
    with pytest.raises(ArtifactError, match=rf"images are right \({part}\), and verdicts.parquet beside it"):
        card.card(folder, NAME, path.parent)


def test_an_evaluation_of_other_weights_is_refused(stock, evaluated):
    with pytest.raises(
        ArtifactError, match=r"is an evaluation of other weights .*evaluate what you push: surgeon evaluate"
    ):
        card.card(stock, NAME, evaluated)


def test_a_reason_that_would_break_the_page_is_one_line_of_text(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["surgery"]["plan"]["edits"][0] |= {"folds": False, "note": "a | b\n# <script>"}
    path.write_text(json.dumps(config))
    assert "does not fold: a \\| b # &lt;script&gt;" in card.card(folder, NAME)


def test_a_card_that_somebody_wrote_or_changed_is_kept(folder):
    path = folder / "README.md"
    assert card.write_card(folder, NAME)
    assert card.is_ours(path.read_text())
    assert card.write_card(folder, "other/name")
    assert "other/name" in path.read_text()
    path.write_text(path.read_text().replace("## Loading", "## Mine"))
    changed = path.read_text()
    assert not card.write_card(folder, NAME)
    path.unlink()
    assert card.write_card(folder, NAME)
    path.write_text(path.read_text() + "\nMine, below the mark.\n")
    assert not card.write_card(folder, NAME) and "Mine" in path.read_text()
    path.write_text("# My own\n")
    assert not card.write_card(folder, NAME)
    assert path.read_text() == "# My own\n" != changed


def test_a_network_of_own_code_says_which_code_it_needs(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architecture": "mine.nets:Net"}))
    text = card.card(folder, NAME)
    assert 'surgeon.load("hf-hub:someone/net", allow_code=["mine.nets"])' in text
    assert "code that is not in this repository, `mine.nets:Net`" in text
    assert "pipeline_tag" not in header(text)


def test_at_the_command_line(hub, folder, tmp_path):
    code, out, err = invoke("push", folder, NAME, "--dry-run")
    assert code == 0, err
    assert "nothing was sent" in out and "original.safetensors" in out
    assert hub.requests == []
    assert (folder / "README.md").is_file()
    code, out, err = invoke("push", folder, NAME, "--private")
    assert code == 0, err
    assert hub.repositories[NAME].private
    code, out, err = invoke("pull", NAME, "-o", tmp_path / "back")
    assert code == 0, err
    assert (tmp_path / "back" / "model.safetensors").is_file()
    code, out, err = invoke("fold", f"hf-hub:{NAME}", "-o", tmp_path / "stock")
    assert code == 0, err
    code, out, err = invoke("plan", "noise", f"hf-hub:{NAME}", "--stack", "--num-classes", 4)
    assert code == 2
    assert "which fixes its network: --num-classes cannot change it" in err
    code, out, err = invoke("plan", "noise", f"hf-hub:{NAME}", "--stack")
    assert code == 0, err
    code, out, err = invoke("pull", "nobody/nothing", "-o", tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "nobody/nothing cannot be read" in err
    assert not (tmp_path / "none").exists()
