"""Networks whose weights are NaN or infinite: told when they are cut and saved, in the words of loading."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeryError
from surgeon.store import rebuilding
from surgeon.store.blank import Blank

WORDS = r"holds weights that are NaN or infinite: fc3\.bias \(1 of 10 values\); a training that diverged leaves such"


@pytest.fixture(params=[float("nan"), float("inf")])
def odd(request):
    network = surgeon.create_model("zoo/lenet5")
    with torch.no_grad():
        network.fc3.bias[1] = request.param
    return network


def test_a_cut_of_weights_that_are_not_finite_is_refused(odd):
    assert surgeon.plan(odd, "kap").edits  # a plan asks for no value
    for calibration in (None, torch.rand(16, 1, 28, 28)):
        with pytest.raises(SurgeryError, match=f"this LeNet5 {WORDS}"):
            surgeon.apply(odd, "kap", calibration=calibration)


def test_saving_tells_that_loading_will_refuse(odd, tmp_path):
    with pytest.warns(ArtifactWarning, match=WORDS):
        surgeon.save(odd, tmp_path / "odd")
    with pytest.raises(ArtifactError, match=WORDS):
        surgeon.load(tmp_path / "odd")


class Stale(Blank):
    """Parameters that are not drawn lie where a network's that diverged lay."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(result, nn.Parameter):
            result.data.fill_(torch.nan)
        return result


def test_memory_of_another_network_does_not_count(odd, tmp_path, monkeypatch):
    """A network that is made for a folder's weights is not drawn: NaN in its memory is not NaN that is meant."""
    with pytest.warns(ArtifactWarning, match=WORDS):
        surgeon.save(odd, tmp_path / "odd")
    monkeypatch.setattr(rebuilding, "Blank", Stale)
    with pytest.raises(ArtifactError, match=WORDS):
        surgeon.load(tmp_path / "odd")


def test_a_mask_is_infinite_on_purpose_and_a_statistic_is_not():
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    network.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
    surgeon.apply(network, "noise", input_size=(1, 8, 8))
    network[1].running_var[0] = float("nan")
    with pytest.raises(SurgeryError, match=r"1\.running_var \(1 of 8 values\)"):
        surgeon.apply(network, "noise", input_size=(1, 8, 8))


def test_variances_below_zero_are_named_at_every_door(tmp_path):
    """Such a norm gives NaN, for which the images would be blamed."""
    words = r"holds variances below 0: 1\.running_var \(2 of 8 values\); no training leaves them"
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    fresh = {k: v.clone() for k, v in network.state_dict().items()}
    network[1].running_var[:3] = torch.tensor([-1.0, -0.1, -1e-6])  # the last has a root with eps
    with pytest.raises(SurgeryError, match=words):
        surgeon.apply(network, "noise", input_size=(1, 8, 8))
    torch.save(network.state_dict(), tmp_path / "odd.pth")
    network.load_state_dict(fresh)
    with pytest.raises(ArtifactError, match=words):
        surgeon.load_weights(network, tmp_path / "odd.pth")
    assert all(torch.equal(v, fresh[k]) for k, v in network.state_dict().items())
