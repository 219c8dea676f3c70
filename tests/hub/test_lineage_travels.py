"""What a network was trained on goes to the hub with it, without the paths of the machine that it comes from."""

import shutil

import pytest

from surgeon.pipeline.lineage import lineage_of
from surgeon.publishing import pushing
from surgeon.store import hub as surgeon_hub
from tests.chain.changes import failures, verified
from tests.cli.commandline import invoke
from tests.lineages import ORDER, evaluated, pictures, trained

for package in ("accelerate", "torchattacks"):
    pytest.importorskip(package)
NAME = "someone/lenet"


def test_a_network_pushed_and_pulled_knows_its_images_and_classes(hub, tmp_path):
    here = tmp_path / "here"
    data = pictures(here / "images")
    order = f"data.classes=[{','.join(ORDER)}]"
    run = trained(here / "run", data, more=[order], split_seed=5)
    known = evaluated(run.folder, here / "known")
    inner = run.folder / "trained"
    code, out, err = invoke("push", inner, NAME, "--dry-run")
    assert code == 0 and "lineage.json" in out.split(), err
    before = (inner / "lineage.json").read_text()
    pushing.push(inner, NAME)
    sent = hub.repositories[NAME].files()
    assert str(tmp_path) in before and str(tmp_path).encode() not in sent["lineage.json"]
    assert (inner / "lineage.json").read_text() == before and not failures(verified(run.folder))

    there = tmp_path / "there"
    shutil.copytree(data, there / "pictures")
    shutil.rmtree(here)
    pulled = surgeon_hub.pull(NAME, there / "pulled")
    assert not failures(verified(pulled)) and lineage_of(pulled)[0].data == "images"
    for n, target in enumerate((pulled, f"hf-hub:{NAME}")):
        found = evaluated(target, there / f"e{n}", data=str(there / "pictures"))
        assert found.data["images"] == known.data["images"] and found.data["classes"] == list(ORDER)
        assert found.summary.clean == known.summary.clean
        assert not any("not known" in n or "is recorded" in n for n in found.notes)


def test_pushing_a_network_without_a_record_takes_the_former_ones_record_away(hub, tmp_path):
    inner = trained(tmp_path / "run", pictures(tmp_path / "images", count=6)).folder / "trained"
    pushing.push(inner, NAME)
    assert "lineage.json" in hub.repositories[NAME].files()
    (inner / "lineage.json").unlink()
    pushing.push(inner, NAME)
    assert "lineage.json" not in hub.repositories[NAME].files()
