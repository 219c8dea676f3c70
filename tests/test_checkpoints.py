"""Reading weights: many forms, nothing executed, clear errors."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import surgeon
from surgeon.errors import ArtifactError
from surgeon.models.checkpoints import check_fit, read_weights


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/surgeon-was-executed",)


@pytest.fixture
def state(tiny):
    return {k: v.clone() for k, v in tiny.state_dict().items()}


def test_plain_wrapped_prefixed_and_safetensors_files_are_read(tiny, state, tmp_path):
    torch.save(state, tmp_path / "plain.pth")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "wrapped.th"
    )
    torch.save({"model": state, "optimizer": {"lr": 0.1}}, tmp_path / "model.pt")
    torch.save({"state_dict_ema": {f"_orig_mod.{k}": v for k, v in state.items()}}, tmp_path / "ema.tar")
    save_file(state, tmp_path / "weights.safetensors")
    for name in ("plain.pth", "wrapped.th", "model.pt", "ema.tar", "weights.safetensors"):
        fresh = type(tiny)()
        surgeon.load_weights(fresh, tmp_path / name)
        assert all(torch.equal(v, state[k]) for k, v in fresh.state_dict().items()), name


class Wrapped(nn.Module):
    """A network whose only child is called as a wrapper calls it."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 3)
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        return getattr(self, self.name)(x)


@pytest.mark.parametrize("name", ["model", "module", "_orig_mod"])
@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_a_network_whose_only_child_is_called_as_a_wrapper_comes_back(tmp_path, name):
    network, x = Wrapped(name).eval(), torch.rand(2, 1, 8, 8)
    cut = surgeon.apply(network, "kap", input_size=(1, 8, 8)).eval()
    for place, saved in (("stock", network), ("cut", cut)):
        surgeon.save(saved, tmp_path / place)
        assert torch.equal(surgeon.load(tmp_path / place, model=Wrapped(name))(x), saved(x))
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "parallel.pth")
    other = Wrapped(name).eval()
    surgeon.load_weights(other, tmp_path / "parallel.pth")
    assert torch.equal(other(x), network(x))


def test_averaged_weights_are_taken_when_asked(state, tmp_path):
    averaged = {k: v + 1 for k, v in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, tmp_path / "both.pt")
    assert torch.equal(read_weights(tmp_path / "both.pt")["head.bias"], state["head.bias"])
    assert torch.equal(read_weights(tmp_path / "both.pt", ema=True)["head.bias"], averaged["head.bias"])


def test_pickled_code_is_never_executed(tmp_path):
    mark = "/tmp/surgeon-was-executed"
    if os.path.exists(mark):
        os.unlink(mark)
    torch.save({"state_dict": {"x": Evil()}}, tmp_path / "evil.pth")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "raw.pt"):
        with pytest.raises(ArtifactError, match=r"(pickled code|damaged)"):
            read_weights(tmp_path / name)
    assert not os.path.exists(mark)


def test_truncated_files_are_one_clear_error(state, tmp_path):
    torch.save(state, tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        content = (tmp_path / name).read_bytes()
        for share in (0, 10, len(content) // 2):
            short = tmp_path / f"short{share}{os.path.splitext(name)[1]}"
            short.write_bytes(content[:share])
            with pytest.raises(ArtifactError, match="damaged|is empty"):
                read_weights(short)


def test_missing_unknown_and_empty_files(tmp_path):
    with pytest.raises(ArtifactError, match="is not a file"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "x.npz").write_text("x")
    with pytest.raises(ArtifactError, match=r"unknown kind '.npz'; readable are .safetensors"):
        read_weights(tmp_path / "x.npz")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ArtifactError, match=r"holds no state dict; it has \['epoch'\]"):
        read_weights(tmp_path / "empty.pt")


def test_a_mismatch_names_keys_and_shapes_and_loads_nothing(tiny, state, tmp_path):
    state["heaad.bias"] = state.pop("head.bias")
    state["conv1.weight"] = state["conv1.weight"][:4]
    save_file(state, tmp_path / "other.safetensors")
    before = tiny.conv2.weight.clone()
    with pytest.raises(ArtifactError) as caught:
        surgeon.load_weights(tiny, tmp_path / "other.safetensors")
    text = str(caught.value)
    assert "1 missing: head.bias" in text
    assert "1 unexpected: heaad.bias (did you mean 'head.bias'?)" in text
    assert "conv1.weight is (4, 3, 3, 3), the model needs (16, 3, 3, 3)" in text
    assert torch.equal(tiny.conv2.weight, before)


def test_a_stock_checkpoint_loads_into_a_rewritten_network(tiny, state, tmp_path):
    save_file(state, tmp_path / "stock.safetensors")
    for recipe in ("kap", "anl", "defective"):
        cut = surgeon.apply(type(tiny)(), recipe, input_size=(3, 8, 8))
        surgeon.load_weights(cut, tmp_path / "stock.safetensors")
        assert torch.equal(cut.conv2.weight, state["conv2.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: (v * 127).to(torch.int8), "is integers, the model needs floats"),
        (lambda v: v.to(torch.complex64), "is complex, the model needs floats"),
        (lambda v: v > 0, "is yes or no, the model needs floats"),
        (lambda v: v.to_sparse(), r"is sparse \(sparse_coo\), the model needs floats"),
        (lambda v: v.to("meta"), "is without values, on the device meta"),
        (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "is quantized, the model needs floats"),
    ],
)
def test_numbers_of_another_kind_are_never_cast(tiny, state, tmp_path, change, told):
    torch.save({**state, "conv1.weight": change(state["conv1.weight"])}, tmp_path / "odd.pth")
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    with pytest.raises(
        ArtifactError, match=rf"odd.pth does not fit Tiny: 1 of another kind: conv1.weight {told}"
    ):
        surgeon.load_weights(tiny, tmp_path / "odd.pth")
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "half.pth")
    surgeon.load_weights(tiny, tmp_path / "half.pth")


def test_values_that_the_networks_type_cannot_hold_are_refused(tiny, state, tmp_path):
    key = "conv1.weight"
    big = state[key].double()
    big.view(-1)[0] = 1e39
    torch.save({**state, key: big}, tmp_path / "big.pth")
    with pytest.raises(ArtifactError, match=f"1 of another kind: {key} has values that float32 cannot hold"):
        surgeon.load_weights(tiny, tmp_path / "big.pth")
    big.view(-1)[0] = 1e38  # no number became infinite
    torch.save({**state, key: big}, tmp_path / "big.pth")
    surgeon.load_weights(tiny, tmp_path / "big.pth")
    with pytest.raises(ArtifactError, match="has values that float16 cannot hold"):
        check_fit(nn.Linear(1, 1).half(), {"weight": torch.full((1, 1), 1e5), "bias": torch.zeros(1)}, "it")
    counted = nn.Module()
    counted.register_buffer("count", torch.zeros(1, dtype=torch.int32))
    check_fit(counted, {"count": torch.tensor([2**31 - 1])}, "it")
    with pytest.raises(ArtifactError, match="count has values that int32 cannot hold"):
        check_fit(counted, {"count": torch.tensor([2**31])}, "it")


@pytest.mark.parametrize("odd", ["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_named(tiny, state, tmp_path, odd):
    before = {k: v.clone() for k, v in state.items()}
    state["conv1.weight"].view(-1)[:2] = float(odd)
    state["head.bias"][0] = float(odd)
    said = rf"NaN or infinite: conv1\.weight \(2 of 432 values\), head\.bias \(1 of {len(state['head.bias'])} values\);"
    for dtype in (torch.float32, torch.bfloat16):
        saved = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        torch.save(saved, tmp_path / "odd.pth")
        with pytest.raises(ArtifactError, match=said):
            surgeon.load_weights(tiny, tmp_path / "odd.pth")
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_whose_sum_overflows_are_finite_and_infinite_ones_that_cancel_are_not(tmp_path, dtype):
    network = nn.Linear(2, 4, bias=False).to(dtype)
    huge = torch.full((4, 2), torch.finfo(dtype).max, dtype=dtype)
    torch.save({"weight": huge}, tmp_path / "huge.pth")
    surgeon.load_weights(network, tmp_path / "huge.pth")
    assert torch.equal(network.weight, huge)
    odd = torch.zeros(4, 2, dtype=dtype)
    odd[0, 0], odd[3, 1] = torch.inf, -torch.inf
    torch.save({"weight": odd}, tmp_path / "odd.pth")
    with pytest.raises(ArtifactError, match=r"weight \(2 of 8 values\)"):
        surgeon.load_weights(network, tmp_path / "odd.pth")


def test_a_mask_may_be_infinite(tmp_path):
    masked = nn.Linear(2, 2)
    masked.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
    torch.save(masked.state_dict(), tmp_path / "masked.pth")
    surgeon.load_weights(masked, tmp_path / "masked.pth")


def test_a_folder_of_weights_that_are_not_finite_names_them(tmp_path):
    network = surgeon.create_model("zoo/lenet5")
    with torch.no_grad():
        network.fc3.bias[1] = torch.nan
    surgeon.save(network, tmp_path / "odd")
    with pytest.raises(ArtifactError, match=r"NaN or infinite: fc3\.bias \(1 of 10 values\)"):
        surgeon.load(tmp_path / "odd")


def test_files_of_torchs_old_form_are_refused_wherever_they_end(state, tmp_path):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pth").read_bytes()
    assert read_weights(tmp_path / "old.pth").keys() == state.keys()
    for end in (*range(200), *range(200, len(whole) - 1, len(whole) // 97)):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        with pytest.raises(ArtifactError, match="cut.pth"):
            read_weights(tmp_path / "cut.pth")


def test_numbers_beside_a_state_dict_are_no_weights(tiny, state, tmp_path):
    torch.save({"epoch": torch.tensor(3), "state_dict": state}, tmp_path / "beside.pth")
    assert read_weights(tmp_path / "beside.pth").keys() == state.keys()


def test_a_network_that_asks_for_the_version_of_its_weights(tmp_path):
    """torchvision's MNASNet refuses weights that tell none, as those of a file of tensors alone."""
    stock = surgeon.create_model("torchvision/mnasnet0_5", num_classes=4, input_size=(3, 32, 32))
    surgeon.save(stock, tmp_path / "stock")
    state = surgeon.load(tmp_path / "stock").state_dict()
    assert all(torch.equal(v, state[k]) for k, v in stock.state_dict().items())
    save_file(stock.state_dict(), tmp_path / "w.safetensors")
    surgeon.load_weights(
        surgeon.create_model("torchvision/mnasnet0_5", num_classes=4), tmp_path / "w.safetensors"
    )


def test_a_batch_norm_may_lack_its_count(tiny, state, tmp_path):
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "old.safetensors")
    surgeon.load_weights(tiny, tmp_path / "old.safetensors")
    assert all(torch.equal(v, state[k]) for k, v in tiny.state_dict().items())


def _maps(size):
    """Two networks: convolutions, the last of which sees an image as large as its kernel; and cut."""
    torch.manual_seed(0)
    stock = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.Conv2d(4, 4, 3, 2, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return stock, surgeon.apply(stock, "wm-smoothing-all", input_size=(3, size, size)).eval()


def test_stock_weights_are_not_taken_for_maps_of_the_kernels_size(tmp_path):
    stock, cut = _maps(6)
    assert cut.get_submodule("1").input_size == cut.get_submodule("1").kernel_size == (3, 3)
    before = {k: v.clone() for k, v in cut.state_dict().items()}
    save_file(stock.state_dict(), tmp_path / "stock.safetensors")
    with pytest.raises(
        ArtifactError,
        match=r"0\.weight, \(4, 3, 3, 3\), is not that of a weight map of 6x6, .*before surgeon",
    ):
        surgeon.load_weights(cut, tmp_path / "stock.safetensors")
    with pytest.raises(RuntimeError, match=r"1\.weight, \(4, 4, 3, 3\), is not that of a weight map of 3x3"):
        cut.load_state_dict(stock.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in cut.state_dict().items())


@pytest.mark.parametrize("recipe", ["defective", "kap"])
def test_a_stock_checkpoint_does_not_fill_a_layer_whose_values_are_gone(tiny, state, recipe):
    cut = surgeon.apply(tiny, recipe, input_size=(3, 8, 8))
    own = cut.state_dict()
    emptied = cut.to("meta").to_empty(device="cpu")
    with pytest.raises(RuntimeError, match="Missing key"):
        emptied.load_state_dict(state)
    emptied.load_state_dict(own)
    emptied.load_state_dict(state)
