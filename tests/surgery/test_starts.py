"""`warm_start`: one start for all operations that know it, or one for each."""

import pytest
import torch

import surgeon
from surgeon.errors import RecipeError, SurgeryError
from surgeon.models.norm_statistics import reestimate_statistics

SIZE = (3, 8, 8)
BOTH = [{"op": "kap"}, {"op": "defective"}, {"op": "noise", "sigma": 0.1}]


def starts(model, warm_start, recipe=BOTH, **more):
    plan = surgeon.plan(model, recipe, input_size=SIZE, warm_start=warm_start, **more)
    first = {e.operation: e.settings["start"] for e in reversed(plan.edits) if "start" in e.settings}
    return dict(sorted(first.items(), reverse=True))


def test_one_for_all_that_know_it_or_by_name(tiny):
    assert starts(tiny, None) == {"kap": "lstsq", "defective": "random"}
    assert starts(tiny, None, trained=True, calibrated=True) == {
        "kap": "sequential",
        "defective": "sequential",
    }
    assert starts(tiny, "naive")["kap"] == "naive"
    assert starts(tiny, "lstsq") == {"kap": "lstsq", "defective": "random"}
    assert starts(tiny, "anneal") == {"kap": "anneal", "defective": "anneal"}
    assert starts(tiny, {"defective": "anneal", "kap": "naive"}) == {"kap": "naive", "defective": "anneal"}


def test_a_start_that_none_knows_is_refused_with_those_that_there_are(tiny):
    with pytest.raises(
        RecipeError, match="warm_start='lstq': kap has auto, naive, lstsq, .*; defective has auto, random"
    ):
        starts(tiny, "lstq")
    with pytest.raises(RecipeError, match="no operation 'kpa' with a start; did you mean 'kap'"):
        starts(tiny, {"kpa": "lstsq"})
    with pytest.raises(RecipeError, match="warm_start of kap: .*stride = kernel_size"):
        starts(tiny, "replicate")
    with pytest.raises(RecipeError, match="no start is needed"):
        starts(tiny, "lstsq", [{"op": "noise", "sigma": 0.1}])
    plan = surgeon.plan(tiny, BOTH, input_size=SIZE)
    with pytest.raises(SurgeryError, match="pass warm_start to surgeon.plan"):
        surgeon.apply(tiny, plan, warm_start="lstsq")


def test_a_distilled_weight_map_is_closer_than_a_random_one(tiny):
    torch.manual_seed(0)
    x = torch.randn(1000, *SIZE)
    reestimate_statistics(tiny, x)  # a network whose statistics are those of its images, as a trained one's
    recipe = {"op": "weight-map", "select": {"every": 2, "offset": 1}}
    drifts = {}
    for start in ("random", "mean", "distill"):
        cut = surgeon.apply(tiny.eval(), recipe, input_size=SIZE, calibration=x, warm_start=start)
        drifts[start] = cut.surgery.execution.drift.relative
    assert drifts["distill"] < min(drifts["random"], drifts["mean"])
    assert {e.effect for e in cut.surgery.edits} == {"approximated"}


def test_the_scale_of_a_distilled_start_leaves_the_function(tiny):
    x = torch.randn(200, *SIZE, generator=torch.Generator().manual_seed(0))
    recipe = {"op": "weight-map", "start": "distill", "select": {"every": 2, "offset": 1}}
    one, three = (
        surgeon.apply(tiny.eval(), {**recipe, "scale": scale}, input_size=SIZE, calibration=x).eval()
        for scale in (1.0, 3.0)
    )
    torch.testing.assert_close(three(x), one(x), atol=1e-3, rtol=1e-3)
    site = one.surgery.edits[0].site
    for name in ("conv1", site):  # in front of the drift too, where the norm's statistics take it back
        leaf = f"{name}.maps" if hasattr(one.get_submodule(name), "maps") else f"{name}.weight"
        found, wanted = three.get_parameter(leaf), 3 * one.get_parameter(leaf)
        # each is fitted by itself, to single precision
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.detach().abs().max()))
    back = surgeon.revert(three)
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in tiny.state_dict().items())


def test_important_neurons_stay_and_need_images(tiny, images):
    recipe = {"op": "defective", "choice": "importance", "start": "anneal"}
    with pytest.raises(SurgeryError, match=r"starts from data \(choice 'importance'\)"):
        surgeon.apply(tiny, recipe, input_size=SIZE)
    cut = surgeon.apply(tiny.eval(), recipe, input_size=SIZE, calibration=images)
    assert torch.equal(cut.eval()(images), tiny(images))  # nothing is masked yet
    name = cut.surgery.edits[0].layer
    mask = cut.get_submodule(name)
    mask.set_keep(0.5)
    site = cut.surgery.edits[0].site
    heard = {}
    hook = tiny.get_submodule(site).register_forward_hook(lambda m, i, o: heard.update(o=o.detach()))
    tiny(images)
    hook.remove()
    weight = heard["o"].relu().square().mean(0)
    least = float(weight[mask.mask].min())  # up to rounding, where two neurons are alike
    assert least >= float(weight[~mask.mask].max()) * (1 - 1e-5)
