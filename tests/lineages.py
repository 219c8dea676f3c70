"""Pictures, runs and evaluations, and networks that are made of a run's in every way."""

import torch
from PIL import Image

from surgeon.recipe import Evaluation, load_recipe
from tests.cli.commandline import invoke

NET, SIZE, ORDER = "zoo/lenet5", (1, 28, 28), ("cat", "bee", "ape")
SETTINGS = ["training.epochs=1", "training.batch_size=8", "training.warmup_epochs=0"]
BASIC = Evaluation(attacks=("fgsm",), eps=0.01, samples=12)


def pictures(folder, classes=ORDER, count=12, first=0):
    """A class's pictures have its own brightness, so that a label can be told from the pixels."""
    generator = torch.Generator().manual_seed(first)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            level = 60 * (1 + sum(map(ord, name)) % 3)
            pixels = torch.randint(0, 40, SIZE[1:], generator=generator, dtype=torch.uint8) + level
            Image.fromarray(pixels.numpy()).save(folder / name / f"{i}.png", compress_level=0)
    return folder


def trained(folder, data, model=NET, more=(), **given):
    from surgeon.pipeline import train

    recipe = load_recipe("plain", [*SETTINGS, *more])
    return train(
        [recipe], str(model), folder, **{"input_size": SIZE, "device": "cpu", "data": str(data), **given}
    )


def evaluated(target, folder, **given):
    from surgeon.pipeline import evaluate_target

    return evaluate_target(str(target), folder, BASIC, **{"device": "cpu", "input_size": SIZE, **given})


def made(kind, run, tmp_path):
    """(name of a network, options) of one that was made of a run's."""
    inner = run.folder / "trained"
    out = tmp_path / "made"
    if kind in ("trained", "cut"):
        return run.folder / kind, {}
    if kind == "weights":
        return NET, {"weights": str(inner / "model.safetensors"), "num_classes": 3}
    if kind == "link":
        out.symlink_to(inner)
        return out, {}
    steps = {
        "apply": [["apply", "noise", inner]],
        "convert": [["convert", "noise", inner]],
        "convert a file": [
            [
                "convert",
                "noise",
                inner / "model.safetensors",
                "--model",
                NET,
                "--num-classes",
                "3",
                "--input-size",
                "1,28,28",
            ]
        ],
        "revert": [["apply", "noise", inner], ["revert", None]],
        "fold": [["apply", "kap", inner], ["fold", None]],
    }[kind]
    for n, step in enumerate(steps):
        before, out = out, tmp_path / f"made{n}"
        code, _, err = invoke(*(before if a is None else a for a in step), "-o", out)
        assert code == 0, err
    return out, {}
