"""An optimizer from before the surgery: what it keeps, and that training goes on as it would have."""

import copy

import pytest
import torch
from timm.optim import create_optimizer_v2

import surgeon
from surgeon.training import adversarial_noise, remap

SIZE = (3, 8, 8)
loss_fn = torch.nn.functional.cross_entropy


def step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(8, *SIZE, generator=generator), torch.arange(8) % 5
    model.train()
    torch.manual_seed(seed)
    optimizer.zero_grad()
    with adversarial_noise(model, x, y, loss_fn):
        loss_fn(model(x), y).backward()
    optimizer.step()


BUILDERS = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01),
    "timm": lambda m: create_optimizer_v2(m, opt="lamb", lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_after_a_cut_that_changes_nothing_training_goes_on_bit_for_bit(tiny, kind):
    uncut = copy.deepcopy(tiny)
    one, two = BUILDERS[kind](uncut), BUILDERS[kind](tiny)
    for seed in range(3):
        step(uncut, one, seed)
        step(tiny, two, seed)
    cut = surgeon.apply(tiny, {"op": "adversarial-noise", "source": "lat"}, input_size=SIZE)
    for layer in (cut.bn1.lat, cut.bn2.lat):
        layer.enabled = False
    groups = list(two.param_groups)
    told = remap(two, tiny, cut)
    assert str(told) == f"{len(list(tiny.parameters()))} parameters kept, 0 dropped, 0 added"
    assert all(a is b for a, b in zip(two.param_groups, groups, strict=True))
    for seed in range(3, 6):
        step(uncut, one, seed)
        step(cut, two, seed)
    assert all(torch.equal(v, cut.state_dict()[k]) for k, v in uncut.state_dict().items())


def test_replaced_layers_start_without_state_in_the_groups_of_the_old_ones(tiny):
    optimizer = create_optimizer_v2(tiny, opt="adamw", lr=0.01, weight_decay=0.1)
    decayed = {0.1: True, 0.0: False}
    step(tiny, optimizer, 0)
    cut = surgeon.apply(tiny, {"op": "weight-map"}, input_size=SIZE)
    told = remap(optimizer, tiny, cut)
    assert set(told.added) == {"conv1.maps", "conv1.bias", "conv2.maps"}
    assert set(told.dropped) == {"conv1.weight", "conv1.bias", "conv2.weight"}
    new = dict(cut.named_parameters())
    where = {id(p): decayed[g["weight_decay"]] for g in optimizer.param_groups for p in g["params"]}
    assert {id(p) for p in cut.parameters()} == set(where)
    assert where[id(new["conv1.maps"])] is True
    assert where[id(new["conv1.bias"])] is False
    assert new["conv1.maps"] not in optimizer.state
    assert "exp_avg" in optimizer.state[new["head.weight"]]
    before = new["conv1.maps"].detach().clone()
    step(cut, optimizer, 1)
    assert not torch.equal(before, new["conv1.maps"])


def test_layers_that_are_added_join_the_group_of_their_site(tiny):
    head = [p for n, p in tiny.named_parameters() if n.startswith("head")]
    body = [p for n, p in tiny.named_parameters() if not n.startswith("head")]
    optimizer = torch.optim.SGD([{"params": head, "lr": 1.0}, {"params": body, "lr": 0.1}])
    cut = surgeon.apply(
        tiny, [{"op": "kap", "pre_norm": True, "start": "naive"}, {"op": "input-scale"}], input_size=SIZE
    )
    told = remap(optimizer, tiny, cut)
    inside = {n for n in told.added if n.startswith("conv")}
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    new = dict(cut.named_parameters())
    assert inside
    assert {rate[id(new[n])] for n in inside} == {0.1}
    assert set(rate) == {id(p) for p in cut.parameters()}


def test_what_was_frozen_stays_out(tiny):
    trained = [p for n, p in tiny.named_parameters() if not n.startswith("conv1")]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    cut = surgeon.apply(tiny, {"op": "weight-map"}, input_size=SIZE)
    told = remap(optimizer, tiny, cut)
    assert "conv2.maps" in told.added
    assert not any(n.startswith("conv1") for n in told.added)


def test_the_way_back_and_a_scheduler_on_the_way(tiny):
    cut = surgeon.apply(tiny, "kap", input_size=SIZE)
    optimizer = torch.optim.SGD(cut.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    step(cut, optimizer, 0)
    scheduler.step()
    folded = surgeon.fold(cut)
    told = remap(optimizer, cut, folded)
    assert not told.added
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    before = folded.conv1.weight.detach().clone()
    step(folded, optimizer, 1)
    assert not torch.equal(folded.conv1.weight, before)
    assert all(p in optimizer.state for p in folded.parameters())


def test_another_networks_optimizer_is_refused(tiny):
    optimizer = torch.optim.SGD(copy.deepcopy(tiny).parameters(), lr=0.1)
    with pytest.raises(
        surgeon.SurgeonError, match="9 of the optimizer's parameters are not the network's before"
    ):
        remap(optimizer, tiny, tiny)


def test_what_is_new_in_spite_of_sharing_is_counted_in_a_note_and_moved(tiny):
    before = copy.deepcopy(tiny)
    optimizer = torch.optim.SGD(before.parameters(), lr=0.1)
    after = surgeon.apply(before, "kap", input_size=SIZE, trained=True, copy=False)
    (note,) = [n for n in after.surgery.notes if n.code == "new-parameters"]
    known = {id(p) for p in before.parameters()}
    new = [n for n, p in after.named_parameters() if id(p) not in known]
    assert new and note.text.startswith(f"{len(new)} of {len(list(after.parameters()))} parameters are new")
    remap(optimizer, before, after)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in after.parameters()}
    copied = surgeon.apply(tiny, "kap", input_size=SIZE, trained=True)
    shared = surgeon.apply(tiny, "defective", input_size=SIZE, copy=False)
    assert not any(n.code == "new-parameters" for c in (copied, shared) for n in c.surgery.notes)


class Twins(torch.nn.Module):
    """Two layers of one shape, tied or not."""

    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
        if tied:
            self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_two_weights_that_were_one_go_on_with_a_state_each(kind):
    before, x = Twins(tied=True), torch.rand(5, 4)
    optimizer = BUILDERS[kind](before)
    before(x).square().sum().backward()
    optimizer.step()
    after = Twins(tied=False)
    with torch.no_grad():
        after.a.weight.copy_(before.a.weight), after.b.weight.copy_(before.a.weight)
    old = copy.deepcopy(optimizer.state[before.a.weight])
    remap(optimizer, before, after)
    states = [optimizer.state[p] for p in after.parameters()]
    for name, value in old.items():
        one, other = (s[name] for s in states)
        assert torch.equal(one, value) and torch.equal(other, value) and one.data_ptr() != other.data_ptr()
    # A reference of its own: two optimizers, each with a copy of the state.
    apart = copy.deepcopy(after)
    alone = []
    for parameter in apart.parameters():
        single = BUILDERS[kind](torch.nn.ParameterList([parameter]))
        single.state[parameter] = copy.deepcopy(old)
        alone.append(single)
    for network, steps in ((after, [optimizer]), (apart, alone)):
        for _ in range(3):
            network.zero_grad()
            network(x).square().sum().backward()
            for one in steps:
                one.step()
    assert all(torch.equal(p, q) for p, q in zip(after.parameters(), apart.parameters(), strict=True))


def test_one_weight_that_were_two_is_trained_where_either_was():
    before = Twins(tied=False)
    optimizer = torch.optim.SGD([before.b.weight], lr=0.1)
    after = Twins(tied=True)
    assert remap(optimizer, before, after).kept == ("b.weight",)
    assert optimizer.param_groups[0]["params"] == [after.a.weight]
