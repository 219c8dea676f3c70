"""A folder whose operation is another package's: without the package, the error names the likely cause."""

import json
import types

import pytest
import torch
from torch import nn

import surgeon
from surgeon.methods import registry


def test_a_folder_of_an_operation_that_is_not_installed_says_to_install_its_package(tmp_path, monkeypatch):
    from surgeon.methods.controls.identity import Identity

    class Other(Identity):
        op: str = "other"

    dist = types.SimpleNamespace(name="other-methods", version="1.2")
    point = types.SimpleNamespace(dist=dist, value="other:Other", load=lambda: Other)
    monkeypatch.setattr(registry, "_plugged", lambda: {"other": point})
    torch.manual_seed(0)
    stock = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    cut = surgeon.apply(stock, {"op": "other"}, input_size=(3, 8, 8))
    assert cut.surgery.execution.versions["other-methods"] == "1.2"
    surgeon.save(cut, tmp_path / "cut")
    surgeon.load(tmp_path / "cut", model=stock)
    monkeypatch.setattr(registry, "_plugged", dict)
    for model in (stock, None):
        with pytest.raises(
            surgeon.SurgeonError, match="unknown operation 'other': another package has it"
        ) as caught:
            surgeon.load(tmp_path / "cut", model=model)
        assert "(the record names other-methods 1.2)" in str(caught.value) and "changed after" not in str(
            caught.value
        )
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    del config["surgery"]["plan"]["execution"]["versions"]["other-methods"]
    (tmp_path / "cut" / "config.json").write_text(json.dumps(config))
    with pytest.raises(surgeon.SurgeonError, match="install that package$"):
        surgeon.load(tmp_path / "cut")
