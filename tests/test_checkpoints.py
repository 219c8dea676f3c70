"""Reading weights: many forms, nothing executed, clear errors."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

import surgeon
from surgeon.checkpoints import read_weights
from surgeon.errors import ArtifactError


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
            with pytest.raises(ArtifactError, match="damaged"):
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
