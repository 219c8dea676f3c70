"""A method of another package goes through the same door, and opens one room of surgeon's: its start from images, its
anneal, its paper's tables and its surrogate are found."""

import subprocess
import sys

ROOM = '''
"""Centring: each channel's mean over calibration images is taken off."""

from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.methods import Attack, Cut, Edit, FoldError, Operation, OptionalState, Paper, Proposal, Traits


class Centred(OptionalState):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("share", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.share * self.mean.view(-1, *[1] * (x.dim() - 2))


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def tables(sources, seed):
    return [Attack(name="fgsm", kind="fgsm", eps=e, seed=seed, cascade=False, group="paper") for e in (0.01, 0.02)]


class Centring(Operation):
    op: Literal["centring"] = "centring"
    start: Literal["images", "anneal"] = "images"

    def propose(self, sites, context):
        return Proposal(tuple(
            Edit(site=s.name, operation=self.op, layer=f"{s.name}.centred", effect="approximated", traits=Traits(),
                 folds=False, note="a mean of images", settings={"channels": s.out_shape[0], "start": self.start})
            for s in self.chosen(sites).sites
        ))

    def build(self, edit, module, generator):
        return Cut(layer=Centred(edit.settings["channels"]))

    def fold(self, edit, context):
        raise FoldError(edit.note)

    def needs_images(self, edit):
        return "means" if edit.settings["start"] == "images" else ""

    def fit(self, edit, seen):
        seen.layer.mean.copy_(seen.inputs.mean((0, 2, 3)))
        return None

    def anneal(self, edit, layer, progress):
        layer.share.fill_(progress)

    def surrogate(self, edit, layer):
        return Doubled()

    @classmethod
    def paper(cls):
        return Paper("centring", "linf", 0.02, tables)
'''
CLIENT = """
import sys; sys.path.insert(0, {folder!r})
import torch, timm, surgeon
from surgeon.evaluation import suite
from surgeon.evaluation.adaptive.surrogates import Yielding
from surgeon.recipe import Evaluation, load_recipe
from surgeon.testing import check_operation
from surgeon.methods.annealed import growing
from surgeon.training.anneal import anneal

recipe = load_recipe({recipe!r})
net = timm.create_model("resnet18", num_classes=3).eval()
images = torch.randn(64, 3, 32, 32)
cut = surgeon.apply(net, recipe, calibration=images)
edit = cut.surgery.edits[0]
# what the first site's layer was fitted to: half of the images, the stock convolution's own means
means = cut.get_submodule(edit.layer).mean
assert means.abs().max() > 0 and not growing(cut)
loud = cut(images)
assert torch.isfinite(loud).all()
try: surgeon.apply(net, recipe, input_size=(3, 32, 32))
except surgeon.SurgeonError as e: assert "means" in str(e), e
else: raise SystemExit("a start from images needs images")
slow = surgeon.apply(net, {{"op": "centring", "start": "anneal"}}, input_size=(3, 32, 32))
assert growing(slow)
anneal(slow, 0.25)
assert float(slow.get_submodule(edit.layer).share) == 0.25
own = [a for a in suite(Evaluation(suite="paper"), operations=["centring"]) if a.group == "paper"]
assert [a.eps for a in own] == [0.01, 0.02], own
assert suite(Evaluation(suite="paper", paper="centring"))[0].eps == 0.01
try: Evaluation(suite="paper", paper="centering")
except surgeon.SurgeonError as e: assert "centring" in str(e), e
# one layer, whose surrogate doubles: the backward pass has the layers' values and twice their gradient
one = surgeon.apply(net, {{"op": "centring", "select": {{"include": "conv1"}}}}, calibration=images)
x = images[:2].clone().requires_grad_()
yielding = Yielding(one, one.surgery)
known = yielding.run(x, ["centring"], "backward")
plain = one(x)
assert torch.equal(known, plain)
given, own = (torch.autograd.grad(out.sum(), x)[0] for out in (known, plain))
assert yielding.operations == ("centring",) and torch.allclose(given, 2 * own, atol=1e-6) and own.abs().max() > 0
check_operation({{"op": "centring", "start": "anneal"}}, net, input_size=(3, 32, 32))
print("ok")
"""


def test_a_room_of_another_package_brings_layer_start_anneal_tables_and_surrogate(tmp_path):
    package, info = tmp_path / "centring", tmp_path / "centring-1.0.dist-info"
    package.mkdir(), info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: centring\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[surgeon.operations]\ncentring = centring:Centring\n")
    (package / "__init__.py").write_text(ROOM)
    recipe = tmp_path / "centred.yaml"
    recipe.write_text("surgery:\n  - {op: centring, select: {include: 'layer1.*.conv1'}}\n")
    code = CLIENT.format(folder=str(tmp_path), recipe=str(recipe))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ok", done.stderr[-3000:]
