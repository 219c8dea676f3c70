"""What a person sees on a terminal of 80 columns, and what a log has where there is none."""

import json
import re

import pytest

from tests.cli.commandline import invoke

for package in ("pty", "pyte", "accelerate", "sklearn", "torchattacks", "scipy"):
    pytest.importorskip(package)

NETWORK = ["zoo/lenet5", "--input-size", "1,32,32"]
MANY = """
import sys
from surgeon.cli import main
for line in sys.argv[1].split("\\n"):
    try:
        main(line.split())
    except SystemExit as stop:
        assert not stop.code, stop.code
    print("=" * 20)
"""


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    """The screen of a training, of an evaluation of it, and of a study, all on one terminal."""
    from tests.cli.terminal import seen

    folder = tmp_path_factory.mktemp("terminal")
    commands = [
        "train plain zoo/lenet5 --input-size 1,32,32 --epochs 2 -o run",
        "evaluate run --suite quick --samples 12 --eps 0.1 --set diagnostics=12 --certify 0.25 --set certify_samples=2 "
        "--set certify_draws=100 -o evaluation",
        (
            "study kap zoo/lenet5 --input-size 1,32,32 --epochs 1 --suite basic --samples 12 "
            "--set evaluation.steps=1 -o study"
        ),
    ]
    code, lines = seen("\n".join(commands), code=MANY, cwd=folder)
    assert code == 0, "\n".join(lines)
    found = "\n".join(lines).split("=" * 20)
    return {
        c.split()[0]: [line for line in part.splitlines() if line]
        for c, part in zip(commands, found, strict=False)
    }


def test_a_training_shows_its_epochs_above_a_bar_that_has_ended(screens):
    lines = screens["train"]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2 and re.search(r"validation accuracy \d+\.\d %, lr ", epochs[1])
    (bar,) = [line for line in lines if line.startswith("training ")]
    assert re.fullmatch(r"training ━+ (\d+)/\1 \d+ s", bar)
    assert lines.index(bar) > lines.index(epochs[1])
    assert lines[0].startswith("run: images: ")
    assert "run" in lines and "run: trained/ holds the network" in " ".join(lines[lines.index(bar) + 1 :])


def test_every_bar_of_an_evaluation_is_full_before_its_verdict_begins(screens):
    lines = screens["evaluate"]
    bars = [line for line in lines if "━" in line]
    assert [line.split(" ━")[0].strip() for line in bars] == [
        "attacks on blocks",
        "certificates",
        "diagnostics",
        "pictures",
        "flags",
    ]
    assert all(re.search(r" (\d+)/\1 ", line) for line in bars)
    after = lines[lines.index(bars[-1]) + 1]
    assert re.match(r"\d+\.\d % \[|no number to quote: ", after)


def test_an_evaluation_prints_what_was_certified(screens):
    text = "\n".join(screens["evaluate"])
    assert "certified by smoothing with σ = 0.25" in text and "within an L2 radius of" in text
    assert "2 images, 100 draws each; no certificate for" in text


def test_a_study_names_the_arm_and_the_seed_of_all_that_it_does(screens):
    lines = screens["study"]
    for head in (
        "stock, trained first",
        "stock, fine-tuned, seed 0",
        "surgery, fine-tuned, seed 0",
        "placebo, fine-tuned, seed 0",
    ):
        assert head in lines, head
    rows = [line for line in lines if line.startswith(("stock", "surgery", "placebo")) and "%" in line]
    assert len(rows) == 5


def test_nothing_is_cut_off(screens):
    text = "\n".join(line for lines in screens.values() for line in lines)
    assert "…" not in text and "-:--:--" not in text and "e+0" not in text


def test_without_a_terminal_each_part_is_a_plain_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--epochs", "1", "--suite", "basic", "--samples", "8", "--set", "evaluation.steps=1"]
    code, out, err = invoke("study", "noise", *NETWORK, *given, "-o", "s")
    assert code == 0, err
    for head in (
        "stock, trained first",
        "stock, fine-tuned, seed 0",
        "surgery, fine-tuned, seed 0",
        "placebo, fine-tuned, seed 0",
    ):
        assert f"{head}: epoch 0: loss " in out
    for head in ("stock, seed 0", "surgery, seed 0"):
        assert f"{head}: attacks on blocks" in err
    assert "\x1b" not in out + err and "━" not in out + err


def test_json_alone_is_on_standard_output(tmp_path):
    code, out, err = invoke("train", "plain", *NETWORK, "--epochs", "1", "-o", tmp_path / "r", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["epoch"] == 0 and "epoch 0: loss" in err
