"""`surgeon report`: a page from folders that other commands wrote; an error is one line and exit code 2."""

import json

import pytest
import torch
from torch import nn

from tests.cli.commandline import invoke

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """The folder of an evaluation of an untrained network by one step of FGSM."""
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation

    folder = tmp_path_factory.mktemp("report") / "linear"
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assess(model, images, torch.tensor([0, 1, 2] * 2), Evaluation(suite="basic", attacks=("fgsm",)), folder)
    return folder


def test_writes_the_page_and_says_where(evaluation, tmp_path):
    page = tmp_path / "new" / "report.html"
    code, out, err = invoke("report", evaluation, "-o", page)
    assert (code, out.strip(), err) == (0, str(page), "")
    text = page.read_text(encoding="utf-8")
    clean = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))["summary"]["clean"]
    assert f"{100 * clean['k'] / 6:.1f}\N{NO-BREAK SPACE}%" in text and "No number to quote" in text


def test_a_page_that_exists_stays_unless_it_may_be_overwritten(evaluation, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("mine", encoding="utf-8")
    code, out, err = invoke("report", evaluation, "-o", page)
    assert (code, out) == (2, "") and page.read_text(encoding="utf-8") == "mine"
    assert err == f"Error: {page} exists already; choose another file, or --overwrite\n"
    code, _, err = invoke("report", evaluation, "-o", page, "--overwrite")
    assert code == 2 and "surgeon did not write" in err and page.read_text(encoding="utf-8") == "mine"
    page.unlink()
    for more in ([], ["--overwrite"]):
        assert invoke("report", evaluation, "-o", page, *more)[0] == 0
        assert "Robustness of" in page.read_text(encoding="utf-8")
    page.write_text(page.read_text(encoding="utf-8") + "<!-- my notes -->", encoding="utf-8")
    code, _, err = invoke("report", evaluation, "-o", page, "--overwrite")
    assert code == 2 and "or that was changed since" in err and "my notes" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "holds no evaluation: nothing is there"),
        ("begun", "is not finished: run the same command again"),
    ],
)
def test_a_folder_without_a_finished_evaluation(evaluation, tmp_path, name, message):
    (tmp_path / "begun" / "attacks").mkdir(parents=True)
    code, out, err = invoke("report", evaluation, tmp_path / name, "-o", tmp_path / "report.html")
    assert (code, out) == (2, "") and message in err and err.startswith("Error: ") and err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_no_run_is_an_error_of_usage(tmp_path):
    code, _, err = invoke("report", "-o", tmp_path / "report.html")
    assert code == 2 and "Missing argument 'RUNS...'" in err
