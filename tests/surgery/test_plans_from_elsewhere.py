"""Plans that come from a file, and that somebody may have edited: told by the edit and the key, never carried out as
something else than they say."""

import json

import pytest
import torch

import surgeon
from surgeon.edits import Plan
from surgeon.errors import SelectionError, SurgeryError

SIZE = (3, 16, 16)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return surgeon.create_model("resnet18", num_classes=4, input_size=SIZE, model_args={"channels": [16] * 4})


def edited(network, change, recipe="kap"):
    content = json.loads(surgeon.plan(network, recipe, input_size=SIZE).model_dump_json())
    change(content)
    return Plan.model_validate_json(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["edits"].insert(3, c["edits"][2]), r"edits\[3\] \(kap at layer1.0.conv1\) stands twice"),
        (
            lambda c: c["edits"].insert(2, c["edits"].pop(3)),
            r"edits\[\d+\] .*stands twice, or after one that comes later",
        ),
        (
            lambda c: c["edits"][2].update(layer="foo.bar"),
            r"edits\[2\].*its layer is 'foo.bar'",
        ),
        (lambda c: c["edits"][2].update(settings={}), r"edits\[2\].*its settings is \{\}"),
        (
            lambda c: c["edits"][2].update(operation="nope"),
            r"edits\[2\].operation is 'nope', and its operations",
        ),
        (
            lambda c: c["edits"][2].update(site="layer9"),
            r"edits\[2\] \(kap at layer9\).*proposes nothing at that site",
        ),
        (lambda c: c["edits"][2].update(call=5), r"edits\[2\].*its call is 5, and None is proposed"),
        (lambda c: c["edits"][2]["settings"].update(kernel_size=7), r"edits\[2\].*its settings is"),
        (
            lambda c: c["edits"][2].update(effect="exact"),
            r"edits\[2\].*its effect is 'exact', and 'destroyed'",
        ),
        (
            lambda c: c["edits"][2]["growth"].update(parameters=999),
            r"edits\[2\].*its growth is Growth\(parameters=999",
        ),
        (lambda c: c["edits"][2].update(seed=1), r"edits\[2\].*its seed is 1"),
        (
            lambda c: c["operations"]["kap"].update(kernel_size=5),
            r"edits\[1\] .*is not what kap proposes there",
        ),
        (lambda c: c["operations"]["kap"].update(kernel_size="big"), r"operations.kap: .*kernel_size"),
        (lambda c: c["operations"].update(kap={"op": "nope"}), r"operations.kap: .*nope"),
        (lambda c: c["before"].update(flops=1), r"before is .*flops=1 "),
    ],
)
def test_what_an_edited_plan_says_and_surgeon_would_not_is_told(network, change, message):
    with pytest.raises(SurgeryError, match=message):
        surgeon.apply(network, edited(network, change))


def test_a_size_that_the_network_does_not_take_is_told(network):
    with pytest.raises((SurgeryError, SelectionError), match="does not run|channels"):
        surgeon.apply(network, edited(network, lambda c: c.update(input_size=[1, 16, 16])))


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective", "wm-unsharp", "kap+anl", "small-image+kap"])
def test_a_plan_read_from_a_file_is_carried_out(network, recipe):
    made = surgeon.plan(network, recipe, input_size=SIZE)
    file = edited(network, lambda content: content["notes"].clear(), recipe)
    x = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1))
    outputs = [surgeon.apply(network, plan).eval()(x) for plan in (made, file)]
    assert torch.equal(*outputs)


def test_edits_may_be_left_out(network):
    cut = surgeon.apply(network, edited(network, lambda content: content["edits"].pop(3)))
    whole = surgeon.plan(network, "kap", input_size=SIZE)
    assert [e.site for e in cut.surgery.edits] == [e.site for i, e in enumerate(whole.edits) if i != 3]


def test_plans_of_trained_networks_and_of_networks_cut_before(network):
    images = torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(2))
    made = surgeon.plan(network, "kap", input_size=SIZE, trained=True, calibrated=True)
    read = Plan.model_validate_json(made.model_copy(update={"edits": made.edits[1:]}).model_dump_json())
    assert surgeon.apply(network, read, calibration=images).surgery.edits == made.edits[1:]
    cut = surgeon.apply(network, "anl", input_size=SIZE)
    more = surgeon.plan(cut, "kap", input_size=SIZE, stack=True)
    read = Plan.model_validate_json(more.model_copy(update={"edits": more.edits[:2]}).model_dump_json())
    assert len(surgeon.apply(cut, read, stack=True).surgery.of("kap")) == 2
