"""Layers with a part of their effect are told of wherever their network is used as the method, not in a training."""

import json
import warnings

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeryWarning
from surgeon.evaluation import assess, evaluate
from surgeon.evaluation.suites import suite
from surgeon.methods.annealed import annealed, growing, unfinished
from surgeon.pipeline import examine
from surgeon.recipe import Evaluation, Training
from surgeon.training import anneal, fit
from tests.cli.commandline import invoke

SIZE = (3, 8, 8)
ANNEALED = {"kap": "kap.start", "wm-smoothing": "weight-map.start", "defective": "defective.start"}
QUICK = Evaluation(suite="basic", attacks=["fgsm"], eps=8 / 255)


@pytest.fixture(params=ANNEALED)
def cut(request, tiny):
    settings = {ANNEALED[request.param]: "anneal"}
    return surgeon.apply(tiny, request.param, input_size=SIZE, settings=settings).eval()


@pytest.fixture
def kap(tiny):
    return surgeon.apply(tiny, "kap", input_size=SIZE, settings={"kap.start": "anneal"}).eval()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, *SIZE, generator=generator), torch.arange(12) % 5


def test_how_much_of_its_effect_each_layer_has(cut, tiny, tmp_path):
    assert "have 0 % of their effect" in unfinished(cut)
    anneal(cut, 0.9)
    count = len(growing(cut))
    said = unfinished(cut)
    assert said.startswith(f"{count} of {count} annealed layers have ")
    assert "surgeon.training.anneal(model, 1)" in said
    assert unfinished(surgeon.load(surgeon.save(cut, tmp_path / "part"), model=tiny)) == said
    anneal(cut, 1)
    assert not unfinished(cut) and not growing(cut)
    assert not unfinished(surgeon.load(surgeon.save(cut, tmp_path / "all"), model=tiny))
    assert not unfinished(tiny)


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.35, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("mode", ["neuron", "channel"])
def test_a_mask_at_its_end_is_that_of_its_share_also_when_it_is_loaded(tiny, tmp_path, keep, mode):
    settings = {"defective.start": "anneal", "defective.keep": keep, "defective.mode": mode}
    masked = surgeon.apply(tiny, "defective", input_size=SIZE, settings=settings)
    anneal(masked, 1)
    assert not growing(masked)
    assert not growing(surgeon.load(surgeon.save(masked, tmp_path / "masked"), model=tiny))


def test_layers_of_different_shares_are_told_from_the_least_to_the_most(kap):
    first, *others = growing(kap)
    anneal(kap, 0.25, [first])
    anneal(kap, 0.5, others[:1])
    anneal(kap, 1, others[1:])
    assert unfinished(kap).startswith("2 of ") and "have 25 % to 50 % of their effect" in unfinished(kap)


def test_an_evaluation_warns_and_its_record_has_a_note(cut, data, tmp_path):
    anneal(cut, 0.9)
    said = unfinished(cut)
    with pytest.warns(SurgeryWarning, match="annealed layers have"):
        found = assess(cut, *data, QUICK, tmp_path / "evaluation")
    assert said in found.notes
    with pytest.warns(SurgeryWarning, match="annealed layers have"):
        evaluate(cut, *data, suite(QUICK, classes=5, random=False))
    anneal(cut, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        done = assess(cut, *data, QUICK, tmp_path / "whole")
    assert not any("annealed" in note for note in done.notes)


def test_the_page_tells_of_it_and_says_that_the_effect_is_that_of_the_cut(kap, data, tmp_path):
    pytest.importorskip("jinja2")
    from surgeon.report import report

    anneal(kap, 0.9)
    with pytest.warns(SurgeryWarning):
        assess(kap, *data, QUICK, tmp_path / "evaluation")
    page = report([tmp_path / "evaluation"], tmp_path / "page.html").read_text()
    assert "annealed layers have 90 % of their effect" in page
    assert "The function that the network computed, at the cut: kept exactly" in page


def test_folding_and_exporting_warn(kap, tmp_path):
    anneal(kap, 0.9)
    with pytest.warns(SurgeryWarning, match="90 %"):
        surgeon.fold(kap, partial=True)
    with pytest.warns(SurgeryWarning, match="90 %"):
        surgeon.export(kap, tmp_path / "part.pt2", format="torch-export")
    anneal(kap, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        surgeon.fold(kap, partial=True)


def test_doctor_has_it_in_its_line_on_sites(kap):
    anneal(kap, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        checks = examine(kap)
    (sites,) = [c for c in checks if c.name == "sites"]
    assert sites.ok and "90 % of their effect" in sites.detail


def test_the_command_line_tells_of_it(tmp_path):
    cut = surgeon.apply(surgeon.create_model("zoo/lenet5"), "kap", settings={"kap.start": "anneal"})
    anneal(cut, 0.9)
    folder = surgeon.save(cut, tmp_path / "part")
    code, printed, _ = invoke("inspect", folder)
    text = " ".join(printed.split())
    assert code == 0 and "90 % of" in text and "surgeon train finishes the annealing" in text
    assert "function at the cut: kept exactly" in text
    assert "90 % of" in json.loads(invoke("inspect", folder, "--json")[1])["annealing"]
    with pytest.warns(SurgeryWarning, match="surgeon train finishes the annealing"):
        assert invoke("fold", folder, "-o", tmp_path / "folded")[0] == 0


def test_a_training_says_nothing_of_layers_that_it_anneals(cut, data, tmp_path):
    pytest.importorskip("accelerate")
    images = Images(*data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        fit(cut, images, images, Training(epochs=2, batch_size=4), folder=tmp_path / "training")
        surgeon.save(cut, tmp_path / "trained")
    assert not unfinished(cut)


def test_layers_that_cannot_say_it_are_left_out(kap):
    anneal(kap, 0.9)
    assert not unfinished(kap.to("meta"))


def test_what_was_folded_at_a_part_of_it_stays_known(kap, tiny, data, tmp_path):
    from surgeon.publishing.card import write_card
    from surgeon.publishing.pushing import prepare

    anneal(kap, 0.9)
    prepare(surgeon.save(kap, tmp_path / "cut"), "someone/cut", model=tiny)
    assert "annealed layers have 90 % of their effect" in (tmp_path / "cut" / "README.md").read_text()
    with pytest.warns(SurgeryWarning, match="90 %"):
        folded = surgeon.fold(kap)
    said = unfinished(folded)
    assert "90 % of their effect" in said and said.endswith("what was folded in is this part of it")
    assert surgeon.surgery_of(folded) is None
    again = surgeon.load(surgeon.save(folded, tmp_path / "folded"), model=tiny)
    assert unfinished(again) == said and again.folded_from == folded.folded_from
    assert unfinished(surgeon.load(surgeon.save(again, tmp_path / "again"), model=tiny)) == said
    with pytest.warns(SurgeryWarning, match="what was folded in"):
        found = assess(again, *data, QUICK, tmp_path / "evaluation")
    assert said in found.notes
    write_card(tmp_path / "folded", "someone/folded", tmp_path / "evaluation")
    page = (tmp_path / "folded" / "README.md").read_text()
    assert page.count("what was folded in is this part of it") == 2  # of its surgery, and of its evaluation
    anneal(kap, 1)
    assert unfinished(surgeon.fold(kap)) == ""


def test_of_a_network_folded_in_part_it_is_what_was_folded(tiny):
    recipe = [{"op": "kap", "start": "anneal"}, {"op": "defective", "start": "anneal"}]
    both = surgeon.apply(tiny, recipe, input_size=SIZE).eval()
    masks = [place for _, edit, place, _ in annealed(both) if edit.operation == "defective"]
    anneal(both, 0.5, masks)
    anneal(both, 1, [n for n in growing(both) if n not in masks])
    with pytest.warns(SurgeryWarning, match="50 %"):
        left = surgeon.fold(both, partial=True)
    assert not any(n.code == "folded-in-part" for n in left.surgery.notes)
    anneal(both, 0.5)
    with pytest.warns(SurgeryWarning, match="50 %"):
        left = surgeon.fold(both, partial=True)
    anneal(left, 1)
    assert "50 %" in unfinished(left)
