"""Other folders: networks, evaluations that stand alone, pages, conversions, and what is not one of surgeon's."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError
from tests.chain.changes import SIZE, changed, edited, failures, flipped, repainted, verified, with_value
from tests.cli.commandline import invoke

for package in ("accelerate", "torchattacks", "scipy", "pyarrow", "jinja2", "matplotlib"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def network(place, weights) -> Path:
    stock = surgeon.create_model(
        "zoo/lenet5", num_classes=2, in_chans=1, input_size=SIZE, weights=str(weights)
    )
    return surgeon.save(surgeon.apply(stock, "kap", input_size=SIZE), place / "network")


@pytest.fixture(scope="module")
def evaluation(place, network, images) -> Path:
    from surgeon.pipeline import evaluate_target
    from surgeon.recipe import Evaluation

    settings = Evaluation(samples=6, steps=2, diagnostics=0)
    evaluate_target(str(network), place / "evaluation", settings, data=str(images))
    return place / "evaluation"


@pytest.fixture(scope="module")
def converted(place, images, weights) -> Path:
    done = invoke(
        "convert",
        "kap",
        weights,
        "--model",
        "zoo/lenet5",
        "--num-classes",
        2,
        "--in-chans",
        1,
        "--input-size",
        "1,32,32",
        "--data",
        images,
        "--samples",
        4,
        "--calibration-count",
        8,
        "-o",
        place / "converted",
    )
    assert done[0] == 0, done
    return place / "converted"


def test_networks_of_every_command_fit(network, tmp_path):
    for command in ("fold", "revert"):
        assert invoke(command, network, "-o", tmp_path / command)[0] == 0
        checks = verified(tmp_path / command)
        assert failures(checks) == set()
    checks = verified(network)
    assert failures(checks) == set()
    assert checks["record"].detail.startswith("names, visible, finite")


def test_a_stock_network_that_was_changed_is_told_by_its_hash(network, tmp_path):
    invoke("revert", network, "-o", tmp_path / "stock")
    weights = tmp_path / "stock" / "model.safetensors"
    with changed(weights, flipped(weights)):
        checks = verified(tmp_path / "stock")
        assert failures(checks) == {"files", "hashes"}
        assert checks["files"].detail == "changed since they were written: model.safetensors"
    (tmp_path / "stock" / "notes.txt").write_text("mine")
    checks = verified(tmp_path / "stock")
    assert checks["files"].detail.endswith("; not surgeon's: notes.txt")
    (tmp_path / "stock" / "original.safetensors").write_bytes(b"")
    checks = verified(tmp_path / "stock")
    assert failures(checks) == {"files"}


def test_a_network_without_its_manifest_is_told(network, tmp_path):
    shutil.copytree(network, tmp_path / "copy")
    (tmp_path / "copy" / ".surgeon.json").unlink()
    checks = verified(tmp_path / "copy")
    assert failures(checks) == {"files"}


def test_a_network_that_no_longer_does_what_its_record_says(tmp_path, tiny):
    """A layer that is called nowhere: files, hashes and weights are right."""
    cut = surgeon.apply(tiny, "noise", input_size=(3, 8, 8))
    surgeon.save(cut, tmp_path / "tiny")
    checks = verified(tmp_path / "tiny")
    assert failures(checks) == set()
    assert checks["loads"].detail == "no name rebuilds it: Tiny is a class of its own"
    from surgeon.pipeline.chain.checking import checked
    from surgeon.pipeline.chain.network import _agrees

    for graph in cut.graphs:
        for node in list(graph.nodes):
            if node.op == "call_module" and node.target == cut.surgery.edits[0].layer:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
    cut.recompile()
    found = checked("record", lambda: _agrees(cut, fresh=True))
    assert found.ok is False and "not called" in found.detail


def test_code_is_imported_where_it_is_allowed_alone(tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    surgeon.save(surgeon.create_model("own_net:Net"), tmp_path / "own")
    checks = verified(tmp_path / "own")
    assert failures(checks) == set()
    assert checks["loads"].detail == "it imports own_net: allow it by --allow-code own_net"
    code, out, _ = invoke("verify", tmp_path / "own", "--allow-code", "own_net")
    assert code == 0 and "all 4 links fit" in out


def test_an_evaluation_that_stands_alone(evaluation, network, images):
    checks = verified(evaluation)
    assert failures(checks) == set()
    assert checks["images"].detail == f"6 images of {images}"
    weights, config = network / "model.safetensors", network / "config.json"
    with changed(weights, flipped(weights)), changed(config, config.read_bytes()):
        checks = verified(evaluation)
        assert failures(checks) == {"network"}
    path = images / "test" / "light" / "1.png"
    with changed(path, repainted(path)):
        checks = verified(evaluation)
        assert failures(checks) == {"images"}
        assert checks["images"].detail.endswith("gives other test images: 1 of 6 changed")


def test_an_evaluation_of_another_network_in_its_place(evaluation, network, tmp_path):
    other = surgeon.load(network)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    shutil.move(network, tmp_path / "kept")
    try:
        checks = verified(evaluation)
        assert failures(checks) == set()
        assert checks["network"].detail == f"{network} is no longer there"
        surgeon.save(other, network)
        checks = verified(evaluation)
        assert failures(checks) == {"network"}
    finally:
        shutil.rmtree(network, ignore_errors=True)
        shutil.move(tmp_path / "kept", network)


def test_an_evaluation_inside_a_run_is_verified_with_the_runs_network(run_folder):
    from surgeon.pipeline import verify_folder

    checks = verify_folder(run_folder / "evaluation")
    assert {c.name for c in checks if not c.ok} == set()
    assert {"network", "images", "predictions", "summary"} <= {c.name for c in checks}


def test_an_evaluation_that_is_not_finished_is_no_failure(evaluation):
    with changed(evaluation / "evaluation.json", None):
        checks = verified(evaluation)
        assert failures(checks) == set()
        assert "not finished" in checks["evaluation.json"].detail


def test_another_report_beside_an_evaluation(run_folder, evaluation):
    page, other = run_folder / "evaluation" / "report.html", evaluation / "report.html"
    with changed(page, other.read_bytes()):
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/report.html"}
        assert "another evaluation.json" in checks["evaluation/report.html"].detail


def test_a_page_names_the_evaluations_that_it_was_made_from(run_folder, evaluation, place):
    page = place / "both.html"
    assert invoke("report", run_folder, evaluation, "-o", page)[0] == 0
    checks = verified(page)
    assert failures(checks) == set()
    assert checks["evaluation 1"].detail == str(run_folder / "evaluation")
    assert checks["evaluation 2"].detail == str(evaluation)
    result = evaluation / "evaluation.json"
    with changed(result, with_value(result, ["notes"], ["another"])):
        checks = verified(page)
        assert failures(checks) == set()
        assert checks["evaluation 2"].detail.startswith("no evaluation beside the page is the one")
    with changed(page, edited(page, "Robust accuracy", "Accuracy")):
        checks = verified(page)
        assert failures(checks) == {"page"}


def test_a_converted_checkpoint_knows_its_file_and_its_images(converted, weights, images):
    checks = verified(converted)
    assert failures(checks) == set()
    assert checks["checkpoint"].detail == f"{weights}, by its sha256"
    with changed(weights, flipped(weights)):
        checks = verified(converted)
        assert failures(checks) == {"checkpoint"}
    train = [images / "train" / c / f"{i}.png" for c in ("dark", "light") for i in range(8)]
    names = set()
    for path in train:  # 8 of these 16 are drawn
        with changed(path, repainted(path)):
            names |= failures(verified(converted))
    assert names == {"data/calibration images"}
    record = converted / "conversion.json"
    with changed(record, with_value(record, ["folds"], False)):
        checks = verified(converted)
        assert failures(checks) == {"files", "conversion.json"}


def test_many_converted_checkpoints_and_their_table(weights, tmp_path):
    (tmp_path / "weights").mkdir()
    for name in ("a", "b"):
        shutil.copy(weights, tmp_path / "weights" / f"{name}.safetensors")
    done = invoke(
        "convert",
        "noise",
        tmp_path / "weights",
        "--model",
        "zoo/lenet5",
        "--num-classes",
        2,
        "--in-chans",
        1,
        "--input-size",
        "1,32,32",
        "-o",
        tmp_path / "out",
    )
    assert done[0] == 0, done
    checks = verified(tmp_path / "out")
    assert failures(checks) == set()
    table = tmp_path / "out" / "conversions.json"
    with changed(table, with_value(table, [1, "seconds"], 0.5)):
        checks = verified(tmp_path / "out")
        assert failures(checks) == {"conversions.json"}
        assert checks["conversions.json"].detail.startswith("b/conversion.json is not its row: seconds is")


def test_the_command_line_says_it_line_by_line_and_by_its_exit_code(run_folder, tmp_path):
    code, out, _ = invoke("verify", run_folder)
    assert code == 0 and "FAILED" not in out and "links fit" in out
    path = run_folder / "training" / "metrics.csv"
    with changed(path, edited(path, "\n0,", "\n0,1")):
        code, out, _ = invoke("verify", run_folder)
        line = next(n for n in out.splitlines() if n.startswith("FAILED"))
        assert code == 1 and "training/metrics.csv" in line and "loss is" in line
        code, out, _ = invoke("verify", run_folder, "--json")
        assert code == 1 and [c["name"] for c in json.loads(out) if c["ok"] is False] == [
            "training/metrics.csv"
        ]


def test_a_folder_that_is_none_of_surgeons_is_refused(tmp_path, run_folder):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "config.json").write_text('{"architecture": "resnet18"}')
    code, out, err = invoke("verify", tmp_path / "thesis")
    assert code == 2 and out == "" and "was not written by surgeon: there is nothing to verify" in err
    assert invoke("verify", tmp_path / "nowhere")[0] == 2
    assert invoke("verify", tmp_path / "thesis" / "config.json")[0] == 2
    from surgeon.pipeline import verify_folder

    with pytest.raises(ArtifactError, match="config.json is neither a folder nor a page that surgeon wrote"):
        verify_folder(tmp_path / "thesis" / "config.json")
    with pytest.raises(ArtifactError, match="is a file of what surgeon wrote; verify .*trained$"):
        verify_folder(run_folder / "trained" / "model.safetensors")
    for name in ("cf.onnx", "cf.pt2"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(
            ArtifactError, match=f"{name} is an exported network, which says nothing of where"
        ):
            verify_folder(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a part of what surgeon wrote; verify"):
        verify_folder(run_folder / "training")
    with pytest.raises(ArtifactError, match="is a part of an evaluation; verify"):
        verify_folder(run_folder / "evaluation" / "attacks")
