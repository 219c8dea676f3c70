"""The loop: it learns, resumes, anneals, and stops on a loss that is none."""

import contextlib
import copy
import csv

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import surgeon
from surgeon.data import Images
from surgeon.errors import ArgumentError, ArtifactError, DataError, RecipeError, SurgeonError
from surgeon.recipe import Training
from surgeon.training import anneal, fit, run_files
from surgeon.training.batches import Batches
from surgeon.training.progress import Bar, Lines, reporter
from surgeon.training.schedule import plateau

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 5, (96,), generator=generator)
    x = torch.rand(96, *SIZE, generator=generator) * 0.3
    x[torch.arange(96), 0, y] += 0.7
    return Images(x, y)


def test_it_learns_and_writes_metrics(tiny, data, tmp_path):
    rows = fit(tiny, data, data, Training(epochs=15, batch_size=16, lr=0.1), folder=tmp_path)
    assert rows[-1].val_loss < 0.75 * rows[0].val_loss and rows[-1].val_accuracy > rows[0].val_accuracy
    with (tmp_path / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in written] == list(range(15))


@pytest.mark.parametrize("recipe", ["noise", "canl", "lat", "defective"])
def test_a_training_that_was_stopped_ends_like_one_that_was_not(tiny, data, tmp_path, recipe):
    settings = Training(epochs=4, batch_size=32, lr=0.05, noise_share=1.0)

    def network():
        return surgeon.apply(tiny, recipe, input_size=SIZE, seed=2)

    whole = network()
    fit(whole, data, data, settings, folder=tmp_path / "whole", seed=5)
    stopped = network()
    calls = 0

    def stop(*_):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt

    stopped.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, data, data, settings, folder=tmp_path / "stopped", seed=5)
    again = network()
    fit(again, data, data, settings, folder=tmp_path / "stopped", seed=5)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


def test_noise_is_off_at_the_minimum_rate_in_the_second_half(tiny, data):
    model = surgeon.apply(tiny, "anl", input_size=SIZE)
    rows = fit(model, data, None, Training(epochs=4, batch_size=32, lr=0.05, min_lr=1e-4, noise_share=0.5))
    assert [r.lr for r in rows[2:]] == [1e-4, 1e-4]
    assert rows[1].lr > 1e-3
    assert model.bn1.anl.enabled


@pytest.mark.parametrize(
    "operation", [{"op": "kap", "start": "anneal"}, {"op": "defective", "start": "anneal", "keep": 0.25}]
)
def test_anneals_begin_with_the_old_network_and_end_with_the_method(tiny, data, operation):
    model = surgeon.apply(tiny, operation, input_size=SIZE).eval()
    assert model.surgery.effect == "exact"
    x = data.x[:4].double()
    wide, stock = copy.deepcopy(model).double(), copy.deepcopy(tiny).double()
    assert torch.allclose(wide(x), stock(x), rtol=0, atol=1e-12)
    fit(model, data, None, Training(epochs=2, batch_size=32, anneal_share=0.5))
    if operation["op"] == "kap":
        assert float(model.conv1.kap.alpha) == 1
    else:
        assert int(model.bn1.mask.mask.sum()) == round(0.25 * 16 * 64)


def test_annealed_masks_are_nested(tiny):
    model = surgeon.apply(tiny, {"op": "defective", "start": "anneal", "keep": 0.2}, input_size=SIZE)
    before = model.bn1.mask.mask.clone()
    for progress in (0.25, 0.5, 1.0):
        anneal(model, progress)
        now = model.bn1.mask.mask
        assert bool((before | ~now).all())
        before = now.clone()


def test_a_loss_that_is_no_number_stops_with_its_place(tiny, data):
    with pytest.raises(
        SurgeonError, match=r"the loss is nan in epoch 0, step 0, at learning rate 0.1: it is in the images"
    ):
        broken = data.x * float("nan")
        broken[0] = data.x[0]  # the one that is looked at beforehand
        fit(tiny, TensorDataset(broken, data.y), None, Training(epochs=1, lr=0.1))


def test_the_best_weights_need_images_to_choose_by(tiny, data):
    with pytest.raises(
        RecipeError, match="keep='best' chooses by validation images, and no such images are given"
    ):
        fit(tiny, data, None, Training(epochs=1, keep="best"))


def test_metrics_that_a_kill_cut_off_are_written_on_resuming(tiny, data, tmp_path, monkeypatch):
    settings, written = Training(epochs=2, batch_size=32), run_files.write_csv

    def killed(path, header, rows):
        if len(rows) == 2:
            raise KeyboardInterrupt
        written(path, header, rows)

    monkeypatch.setattr(run_files, "write_csv", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, data, data, settings, folder=tmp_path)
    monkeypatch.setattr(run_files, "write_csv", written)
    rows = fit(tiny, data, data, settings, folder=tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        assert [float(r["loss"]) for r in csv.DictReader(file)] == [r.loss for r in rows]
    assert len(rows) == 2


@pytest.mark.parametrize("surgery", [None, "anl"])
def test_labels_that_are_no_classes_of_the_model_are_refused(tiny, data, surgery):
    model = tiny if surgery is None else surgeon.apply(tiny, surgery, input_size=SIZE)
    settings = Training(epochs=1, batch_size=32)
    with pytest.raises(DataError, match=r"train has the label 6 at index \d+, and the network has 5 outputs"):
        fit(model, Images(data.x, data.y + 2), None, settings)
    with pytest.raises(DataError, match=r"val has the label -1 at index \d+; give class indices from 0"):
        fit(model, data, Images(data.x, data.y - 1), settings)


def test_networks_with_several_outputs_train(data):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.a, self.b = nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x):
            x = self.conv(x).mean((2, 3))
            return (self.a(x), self.b(x)) if self.training else self.a(x)

    model = Two()
    before = model.b.weight.clone()
    fit(model, data, data, Training(epochs=1, batch_size=32))
    assert not torch.equal(model.b.weight, before)


@pytest.mark.parametrize(
    ("surgery", "settings"),
    [
        ("anl", Training(epochs=4, batch_size=32, lr=0.05, noise_share=0.75, clip_grad=1.0)),
        ({"op": "kap", "start": "anneal"}, Training(epochs=4, batch_size=32, lr=1e-3, optimizer="adamw")),
        (
            {"op": "defective", "start": "anneal", "keep": 0.5},
            Training(epochs=4, batch_size=32, schedule="plateau"),
        ),
    ],
)
def test_every_kind_of_training_resumes_bit_for_bit(tiny, data, tmp_path, surgery, settings):
    def network():
        return surgeon.apply(tiny, surgery, input_size=SIZE, seed=2)

    whole = network()
    rows = fit(whole, data, data, settings, seed=5)
    stopped = network()
    stopped.head.register_forward_hook(Stop(after=4 * 3))
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, data, data, settings, folder=tmp_path, seed=5)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < len(state["progress"]["rows"]) < 4
    assert [p.name for p in tmp_path.glob(".*")] == []
    again = network()
    resumed = fit(again, data, data, settings, folder=tmp_path, seed=5)
    assert [r[:5] for r in resumed] == [r[:5] for r in rows]
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


class Stop:
    def __init__(self, after):
        self.left = after

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_finished_training_is_only_read(tiny, data, tmp_path):
    settings = Training(epochs=2, batch_size=32)
    rows = fit(tiny, data, None, settings, folder=tmp_path)
    after = {k: v.clone() for k, v in tiny.state_dict().items()}
    again = fit(tiny, data, None, settings, folder=tmp_path)
    assert [r[:3] for r in again] == [r[:3] for r in rows]
    assert all(torch.equal(v, after[k]) for k, v in tiny.state_dict().items())


def test_folders_of_other_trainings_and_damaged_ones_are_refused(tiny, data, tmp_path):
    fit(tiny, data, None, Training(epochs=1, batch_size=32), folder=tmp_path)
    with pytest.raises(ArtifactError, match=r"holds another training \(lr: 0.05 there, 0.1 here\); choose"):
        fit(tiny, data, None, Training(epochs=1, batch_size=32, lr=0.1), folder=tmp_path)
    with pytest.raises(ArtifactError, match=r"seed: 0 there, 3 here"):
        fit(tiny, data, None, Training(epochs=1, batch_size=32), folder=tmp_path, seed=3)
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(ArtifactError, match="holds another training .layer"):
        fit(other, data, None, Training(epochs=1, batch_size=32), folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"checkpoint.pt is not a checkpoint .* delete it to start over"):
        fit(tiny, data, None, Training(epochs=1, batch_size=32), folder=tmp_path)


def test_the_model_comes_back_in_its_mode_with_its_own_forward(tiny, data):
    for precision in ("bf16", "no"):
        rows = fit(
            tiny, data, data, Training(epochs=1, batch_size=32), mixed_precision=precision, device="cpu"
        )
        assert not tiny.training
        assert "forward" not in vars(tiny)
        assert rows[0].loss > 0
    fit(tiny.train(), data, None, Training(epochs=1, batch_size=32))
    assert tiny.training


def test_nothing_of_a_training_stays_on_the_model(tiny, data):
    """accelerate marks what it has prepared, and would leave the model of a second training where it is,
    off the GPU."""
    before = set(vars(tiny))
    for precision in ("no", "bf16"):
        fit(tiny, data, None, Training(epochs=1, batch_size=32), mixed_precision=precision, device="cpu")
        assert set(vars(tiny)) == before


def test_what_another_accelerator_left_on_the_model_stays(tiny, data):
    from accelerate import Accelerator

    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare(tiny)
    assert prepared is tiny
    before = dict(vars(tiny))
    assert "_original_forward" in before
    fit(tiny, data, None, Training(epochs=1, batch_size=32), device="cpu")
    assert dict(vars(tiny)) | {"training": before["training"]} == before


def test_the_model_comes_back_after_an_error_too(tiny, data):
    model = surgeon.apply(tiny, "anl", input_size=SIZE).eval()
    model.head.register_forward_hook(Stop(after=7))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, None, Training(epochs=3, batch_size=32, noise_share=0.4), mixed_precision="bf16")
    assert model.bn1.anl.enabled
    assert model.bn1.anl.phase == "idle"
    assert not model.training
    assert "_original_forward" not in vars(model)


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own():
    for total, size, parts in ((33, 16, [16, 17]), (5, 1, [1] * 5), (1, 8, [1]), (32, 16, [16, 16])):
        order = Batches(Images(torch.zeros(total, 1), torch.zeros(total).long()), size, 0).order(0)
        assert [len(p) for p in order] == parts
        assert sorted(torch.cat(order).tolist()) == list(range(total))
    batches = Batches(Images(torch.zeros(9, 1), torch.zeros(9).long()), 9, 1)
    assert torch.equal(batches.order(2)[0], batches.order(2)[0])
    assert not torch.equal(batches.order(2)[0], batches.order(3)[0])


def test_the_plateau_rule_of_the_paper():
    falling = [1 / (i + 1) for i in range(20)]
    assert plateau(falling, 0.1, 1e-3) == 0.1
    flat = [1.0] * 6
    assert plateau(flat[:5], 0.1, 1e-3) == 0.1
    assert plateau(flat, 0.1, 1e-3) == 0.05
    assert plateau([1.0] * 10, 0.1, 1e-3) == 0.05
    assert plateau([1.0] * 11, 0.1, 1e-3) == 0.025
    assert plateau([1.0] * 200, 0.1, 1e-3) == 1e-3
    assert plateau([*flat[:5], 0.5, 1, 1, 1, 1], 0.1, 1e-3) == 0.1
    assert plateau([*flat[:5], 0.5, 1, 1, 1, 1, 1], 0.1, 1e-3) == 0.05


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constant", [0.1] * 6),
        ("plateau", [0.1] * 6),
        ("step", [0.1, 0.1, 0.01, 0.01, 0.005, 0.005]),
        ("cosine", None),
    ],
)
def test_schedules_by_name(tiny, data, name, wanted):
    few = Images(data.x[:8], data.y[:8])
    rows = fit(tiny, few, None, Training(epochs=6, lr=0.1, min_lr=0.005, schedule=name), progress=False)
    rates = [r.lr for r in rows]
    if wanted:
        assert rates == pytest.approx(wanted)
    else:
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.02


def test_no_rate_rises_to_a_minimum_above_it(tiny, data):
    model = surgeon.apply(tiny, "anl", input_size=SIZE)
    settings = Training(
        epochs=4, batch_size=48, optimizer="adamw", lr=5e-4, noise_share=0.5
    )  # below the default of min_lr
    assert [r.lr for r in fit(model, data, None, settings)] == pytest.approx([5e-4] * 4)


def test_faults_of_settings_and_data_are_named(tiny, data):
    with pytest.raises(RecipeError, match=r"optimizer='sgdd' is not known .* did you mean 'sgd'"):
        fit(tiny, data, None, Training(optimizer="sgdd"))
    for name in ("cosin", "none"):
        with pytest.raises(RecipeError, match=rf"schedule='{name}' is not known; 'cosine', .* 'plateau' and"):
            fit(tiny, data, None, Training(schedule=name))
    with pytest.raises(DataError, match="train has no images"):
        fit(tiny, Images(data.x[:0], data.y[:0]), None)
    with pytest.raises(DataError, match="val has 96 images and 5 labels"):
        fit(tiny, data, Images(data.x, data.y[:5]))
    with pytest.raises(SurgeonError, match="mixed_precision='fp64' is not known"):
        fit(tiny, data, None, mixed_precision="fp64")
    if not torch.cuda.is_available():
        with pytest.raises(SurgeonError, match="device='cuda' is not there; accelerate finds cpu"):
            fit(tiny, data, None, device="cuda")


def test_progress_is_a_line_an_epoch_or_a_bar_or_nothing(tiny, data, capsys, monkeypatch):
    settings = Training(epochs=2, batch_size=48)
    fit(tiny, data, None, settings, progress=False)
    assert capsys.readouterr().out == ""
    fit(tiny, data, data, settings, label="kap")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("kap: epoch 1: loss ")
    assert "validation accuracy" in lines[1]
    fit(tiny, data, None, settings)
    assert "nan" not in capsys.readouterr().out
    assert isinstance(reporter(3), Lines)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert isinstance(reporter(3), Bar)
    fit(tiny, data, data, settings, label="kap")
    assert "kap" in capsys.readouterr().out


def test_a_model_without_a_record_is_not_annealed(tiny):
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    anneal(tiny, 0.5)
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())


@pytest.mark.parametrize(
    ("wanted", "taken", "words"),
    [
        ("cuda:1", "cuda:0", "CUDA_VISIBLE_DEVICES=1 in its environment, and give device='cuda'"),
        ("cuda:1", "cuda", "CUDA_VISIBLE_DEVICES=1"),
        ("mps", "cpu", "accelerate finds cpu"),
        ("cuda", "cuda:1", ""),
        ("cuda:0", "cuda", ""),
        ("cpu", "cpu", ""),
    ],
)
def test_a_card_that_accelerate_does_not_take_is_refused(wanted, taken, words):
    from surgeon.training.setup import _demand

    with pytest.raises(ArgumentError, match=words) if words else contextlib.nullcontext():
        _demand(torch.device(wanted), torch.device(taken))
