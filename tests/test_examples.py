"""The examples run, learn, and add as few lines as they say."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from surgeon.errors import LayerError

pytest.importorskip("sklearn")
FOLDER = Path(__file__).parents[1] / "examples"
QUICK = {
    "plain_loop": {
        "repeat_interleave(4, ": "repeat_interleave(2, ",
        "(1, 32, 32)": "(1, 16, 16)",
        "(16, 32, 64, 64)": "(8, 16, 32, 32)",
    }
}


def load(name, text=None):
    """The example as a module; on images and with a network that are quick to train, where QUICK has them."""
    as_it_is = (FOLDER / f"{name}.py").read_text()
    text = text or as_it_is
    for whole, quick in QUICK.get(name, {}).items():
        assert whole in as_it_is, (name, whole)
        text = text.replace(whole, quick)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    exec(compile(text, f"{name}.py", "exec"), module.__dict__)
    return module


def without_surgeon(text):
    """The script before surgeon: its lines taken out, what a `with` held moved back."""
    out, held = [], None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.rstrip().endswith("# surgeon"):
            held = indent if line.lstrip().startswith("with ") else held
            continue
        if held is not None and line.strip() and indent <= held:
            held = None
        out.append(line[4:] if held is not None and line.strip() else line)
    return "\n".join(out)


@pytest.mark.parametrize("name", ["plain_loop", "lightning_loop", "timm_script"])
def test_at_most_three_lines_are_added_to_a_script_that_runs_without_them(name):
    if name.startswith("lightning"):
        pytest.importorskip("lightning")
    text = (FOLDER / f"{name}.py").read_text()
    assert 1 <= len(re.findall(r"# surgeon$", text, re.M)) <= 3
    before = without_surgeon(text)
    assert "surgeon" not in before.split('"""', 2)[2]
    assert 0 <= load(name, before).main(epochs=1) <= 1


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("plain_loop", "anl"),
        ("plain_loop", "canl"),
        ("plain_loop", "defective+anl"),
        ("lightning_loop", "anl"),
        ("lightning_loop", "canl"),
        ("timm_script", "anl"),
    ],
)
def test_they_learn(name, recipe):
    if name.startswith("lightning"):
        pytest.importorskip("lightning")
    # four times chance: how much more is learnt in so few epochs is a matter of rounding
    assert load(name).main(recipe=recipe, epochs=8 if name == "timm_script" else 3) > 0.4


@pytest.mark.parametrize("source", ["anl", "canl"])
def test_a_backward_pass_after_the_step_gives_the_same_gradients(source):
    """As in Lightning, whose training_step returns the loss."""
    pytest.importorskip("lightning")
    x, y = torch.rand(16, 1, 32, 32), torch.arange(16) % 10
    grads, caches = [], []
    for module in (load("plain_loop"), load("lightning_loop")):
        surgeon, entropy = module.surgeon, module.cross_entropy
        torch.manual_seed(0)
        model = module.timm.create_model("resnet18", num_classes=10, in_chans=1, channels=(8, 8, 8, 8))
        model = surgeon.apply(model, source, input_size=(1, 32, 32), seed=1).train()
        for _ in range(2):
            model.zero_grad()
            if hasattr(module, "Classifier"):
                step = module.Classifier.training_step
                loss = step(type("Self", (), {"model": model}), [x, y], 0)
                loss.backward()
            else:
                with surgeon.training.adversarial_noise(model, x, y, entropy):
                    entropy(model(x), y).backward()
        grads.append([p.grad for p in model.parameters()])
        caches.append([m.cache for m in model.modules() if getattr(m, "cache", None) is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert len(caches[0]) == len(caches[1]) == (21 if source == "canl" else 0)
    assert all(torch.equal(a, b) for a, b in zip(*caches, strict=True))
    assert (
        source == "anl" or sum(bool(c.abs().sum() > 0) for c in caches[0]) > 10
    )  # timm starts last norms at 0


def test_soft_labels_and_a_cache_by_class_do_not_go_together():
    with pytest.raises(LayerError, match="soft labels"):
        load("timm_script").main(recipe="canl", epochs=1)


def test_a_checkpoint_goes_there_and_back(tmp_path):
    trained, cut, tuned, folded = load("convert_checkpoint").main(folder=str(tmp_path / "stock"))
    assert trained > 0.6
    assert cut > 0.5 * trained
    assert tuned > 0.6
    assert folded == pytest.approx(tuned, abs=0.005)
