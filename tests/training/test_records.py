"""What a training leaves behind, and what it says when its numbers are not finite."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeonError
from surgeon.recipe import Training
from surgeon.training import fit
from surgeon.training.nonfinite import first_nonfinite
from tests.sensitivity import doubled

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture
def data():
    return Images(torch.rand(48, *SIZE), torch.arange(48) % 5)


def test_last_and_best_weights_by_validation(tiny, data, tmp_path):
    rows = fit(
        tiny, data, data, Training(epochs=6, batch_size=16, lr=0.3, schedule="constant"), folder=tmp_path
    )
    last, best = (load_file(tmp_path / f"{n}.safetensors") for n in ("last", "best"))
    assert all(torch.equal(v, last[k]) for k, v in tiny.state_dict().items())
    surgeon.load_weights(tiny, tmp_path / "best.safetensors")
    tiny.eval()
    with torch.no_grad():
        right = (tiny(data.x).argmax(1) == data.y).float().mean()
    assert float(right) == pytest.approx(max(r.val_accuracy for r in rows), abs=1e-6)
    assert sorted(best) == sorted(last)


def test_tensorboard_has_the_metrics_of_every_epoch_once(tiny, data, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = Training(epochs=3, batch_size=16)
    rows = fit(tiny, data, data, settings, folder=tmp_path)
    fit(tiny, data, data, settings, folder=tmp_path)  # a second call adds nothing
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "lr", "val_loss", "val_accuracy"} <= set(events.Tags()["scalars"])
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([r.loss for r in rows])
    assert "val_robust" not in events.Tags()["scalars"]


def test_a_moving_average_is_what_is_validated_and_kept(tiny, data):
    import copy

    plain, average = copy.deepcopy(tiny), copy.deepcopy(tiny)
    settings = Training(epochs=1, batch_size=48, lr=0.1, schedule="constant")
    fit(plain, data, None, settings)
    fit(average, data, None, settings.model_copy(update={"ema": 0.75}))
    for name, start in tiny.named_parameters():
        moved = torch.lerp(dict(plain.named_parameters())[name], start, 0.75)
        assert torch.allclose(dict(average.named_parameters())[name], moved, atol=1e-6)


def test_micro_batches_add_up_to_the_batch(data):
    torch.manual_seed(0)
    model = doubled(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    losses = []
    for parts in (1, 3, 20):
        torch.manual_seed(0)
        model[1].reset_parameters()
        losses.append(
            [
                r.loss
                for r in fit(
                    model, data, None, Training(epochs=3, batch_size=20, accumulate=parts, pad=1, flip=True)
                )
            ]
        )
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-9)
    assert losses[2] == pytest.approx(losses[0], rel=0, abs=1e-9)


def test_channels_last_changes_no_loss_and_the_model_comes_back_contiguous(tiny, data):
    import copy

    one, two = doubled(copy.deepcopy(tiny)), doubled(copy.deepcopy(tiny))
    settings = Training(epochs=2, batch_size=16, lr=0.01)
    a = fit(one, data, None, settings)
    b = fit(two, data, None, settings.model_copy(update={"channels_last": True}))
    assert [r.loss for r in a] == pytest.approx([r.loss for r in b], rel=0, abs=1e-9)
    assert all(p.is_contiguous() for p in two.parameters())


def test_a_warm_up_rises_from_nothing(tiny, data):
    seen = []
    from surgeon.training import loop

    step = loop._Training._step
    try:
        loop._Training._step = lambda self, *a: (
            seen.append(self.optimizer.param_groups[0]["lr"]) or step(self, *a)
        )
        fit(
            tiny,
            data,
            None,
            Training(epochs=3, batch_size=16, lr=0.3, schedule="linear", warmup_epochs=1, min_lr=0.0),
        )
    finally:
        loop._Training._step = step
    assert len(seen) == 9 and seen[0] == 0
    assert seen[:4] == pytest.approx([0, 0.1, 0.2, 0.3])  # one epoch of three steps up to lr …
    assert seen[3:] == pytest.approx([0.3 * (1 - k / 6) for k in range(6)])  # … and from there down to min_lr


class Broken(nn.Module):
    def forward(self, x):
        return x / 0


@pytest.mark.parametrize("kind", ["weights", "layer", "images"])
def test_the_place_of_a_number_that_is_none(tiny, data, kind):
    x = data.x.clone()
    if kind == "weights":
        tiny.bn2.weight.data[3] = float("nan")
        where = "the weights bn2.weight are not finite"
    elif kind == "images":
        x[40, 0, 0, 0] = float("inf")
        where = "it is in the images already"
    else:
        tiny.act1 = Broken()
        where = r"it first shows in the output of layer act1 \(Broken\)"
    with pytest.raises(
        SurgeonError, match=rf"the loss is (nan|inf) in epoch 0, step \d, at learning rate 0.05: {where}"
    ):
        fit(tiny, TensorDataset(x, data.y), None, Training(epochs=1, batch_size=16, schedule="constant"))


def test_a_loss_that_explodes_names_step_rate_and_layer(tiny, data):
    with pytest.raises(
        SurgeonError, match=r"in epoch \d+, step \d, at learning rate 1e\+06: .*; try a smaller"
    ):
        fit(tiny, data, None, Training(epochs=5, batch_size=16, lr=1e6, schedule="constant"))


def test_a_loss_of_its_own_making_is_not_blamed_on_a_layer(tiny, data):
    assert first_nonfinite(tiny, data.x) == "every layer's output is finite"
