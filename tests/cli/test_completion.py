"""Completion as shells ask for it: by the environment, in a process of its own."""

import os
import subprocess
import sys

import pytest

from surgeon.cli import main
from tests.started import Started


def asked(line, shell="bash"):
    words = line.split(" ")
    return {
        "_SURGEON_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }


def completed(line, shell="bash"):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import sys\nfrom surgeon.cli import main\ntry: main()\nfinally: print('torch' "
                "in sys.modules, file=sys.stderr)"
            ),
        ],
        env={**os.environ, **asked(line, shell)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    "line, wanted, unwanted",
    [
        ("surgeon ap", "apply", "plan"),
        ("surgeon plan ka", "kap-ensemble", "anl"),
        ("surgeon train kap+a", "kap+at-fgsm", "kap+kap"),
        ("surgeon apply kap resnet18 --set kap.k", "kap.kernel_size=", "training"),
        ("surgeon apply kap+anl resnet18 --set adv", "adversarial-noise.epsilon=", "kap."),
        ("surgeon train plain resnet18 --set training.e", "training.epochs=", "data."),
        ("surgeon evaluate runs/x --set certify_d", "certify_draws=", "certify_samples"),
    ],
)
def test_the_shell_is_told_what_fits_without_torch(line, wanted, unwanted):
    out, err = completed(line)
    assert f"plain,{wanted}\n" in out and unwanted not in out
    assert err.strip() == "False"


@pytest.mark.parametrize(
    "line", ["surgeon nothing k", "surgeon apply nothing m --set k", "surgeon apply kap m --set kap.k=3"]
)
def test_where_nothing_fits_nothing_is_said(line):
    out, err = completed(line)
    assert not out.strip() and "Traceback" not in err


def test_models_by_name_and_folders():
    for line, wanted in (
        ("surgeon apply kap zoo/l", "plain,zoo/lenet5\n"),
        ("surgeon inspect resnet1", "plain,resnet18\n"),
        ("surgeon inspect ./o", "dir,./o\n"),
    ):
        assert wanted in Started(completing, line).communicate(300)[0]


def completing(line):
    """The command line as a shell asks it, with everything imported."""
    os.environ.update(asked(line))
    sys.argv = ["surgeon"]
    main()


@pytest.mark.parametrize("shell, begins", [("zsh", "plain\nkap\n"), ("fish", "plain,kap\t")])
def test_other_shells_get_the_same_with_what_it_does(shell, begins):
    out, _ = completed("surgeon plan kap", shell)
    assert out.startswith(begins) and "Kernel average pooling" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell):
    done = subprocess.run(
        [sys.executable, "-c", "from surgeon.cli import main; main()"],
        env={**os.environ, "_SURGEON_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_surgeon_completion" in done.stdout, done.stderr
