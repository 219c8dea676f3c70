"""A model to sweep: random weights, the smallest input that it takes, and what it is called with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

import surgeon
from benchmarks.sweep.layers import Reach, reach, reasons
from benchmarks.sweep.order import all_models, family_of
from surgeon.errors import ModelError
from surgeon.graph.measuring.norm_shapes import NormsKeepShapes
from surgeon.graph.rewritten.module_tree import bare
from surgeon.kept_modes import mode
from surgeon.models.facts import ORIGIN
from surgeon.models.libraries import TORCHVISION
from surgeon.models.logits import first_tensor
from surgeon.surgery import look

SIDES = (64, 96, 128, 160)
CLIPS = ((4, 32, 32), (8, 64, 64), (16, 112, 112), (16, 224, 224))
DROPS: tuple[dict[str, float], ...] = ({"drop_rate": 0.2, "drop_path_rate": 0.1}, {"drop_rate": 0.2}, {})
REAL = 30_000_000
"""Parameters above which a model has tensors without data."""


@dataclass
class Subject:
    """A model in evaluation mode and what it takes. `size` is an image's; `fake`: its tensors have no data."""

    name: str
    model: nn.Module
    size: tuple[int, ...]
    fake: bool

    @property
    def number(self) -> int:
        """Its place among all models, by which recipes take turns."""
        return all_models().index(self.name)

    @functools.cached_property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @functools.cached_property
    def seen(self) -> Any:
        """One look for all recipes."""
        return look(self.model, input_size=self.size)

    @functools.cached_property
    def reach(self) -> Reach:
        """How many of its layers with weights are sites."""
        return reach(self.model, self.seen.sites, reasons(self.seen))

    @property
    def runs_without_data(self) -> bool:
        """Whether its code asks for no values: detectors sort boxes by their scores."""
        return "/detection/" not in family_of(self.name)

    @property
    def flops(self) -> int:
        return self.seen.measured.flops if self.seen.measured else 0

    @functools.cached_property
    def meta(self) -> Subject:
        """The same model on tensors without data."""
        if self.fake:
            return self
        twin = Subject(self.name, bare(self.model, share=True)[0].to("meta"), self.size, True)
        twin.__dict__["seen"] = self.seen
        return twin

    def restore(self) -> None:
        """Undo what running the model, or a network that shares its tensors, left behind."""
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(self.buffers[name])
        for p in self.model.parameters():
            p.grad = None

    @functools.cached_property
    def output(self) -> Tensor:
        """What the stock model gives in evaluation mode; what it wrote into buffers of its own is
        what `restore` keeps."""
        result = run(self, self.model)
        self.buffers = {k: b.detach().clone() for k, b in self.model.named_buffers()}
        return result


def inputs(subject: Subject, training: bool = False) -> tuple[Any, ...]:
    """The arguments of one forward pass, the same each time: two images, two pairs of images, or a list of them."""
    generator = torch.Generator().manual_seed(0)
    device = torch.device("meta" if subject.fake else "cpu")
    images = torch.rand(2, *subject.size, generator=generator).to(device)
    if "/detection/" in family_of(subject.name):
        side = float(subject.size[-1])
        target = {
            "boxes": torch.tensor([[side / 8, side / 8, side / 2, side / 2]]),
            "labels": torch.ones(1, dtype=torch.int64),
            "masks": torch.ones(1, *subject.size[1:], dtype=torch.uint8),
            "keypoints": torch.tensor([[[side / 4, side / 4, 1.0]] * 17]),
        }
        return (list(images), [dict(target) for _ in images]) if training else (list(images),)
    if "/optical_flow/" in family_of(subject.name):
        return (images, images.flip(-1))
    return (images,)


def run(
    subject: Subject, network: nn.Module, training: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """The network's main output, by default in evaluation mode, without gradients. dtype: of images, if
    not their own."""
    given = inputs(subject, training)
    if dtype is not None:
        given = tuple(images.to(dtype) for images in given)
    quick = NormsKeepShapes() if subject.fake else contextlib.nullcontext()
    with mode(network, training), torch.no_grad(), quick, torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)  # for layers that are always random
        return main_output(network(*given))


def main_output(output: Any) -> Tensor:
    """The first tensor, whatever an architecture wraps its outputs in."""
    if isinstance(output, (list, tuple)) and output and all(isinstance(o, dict) for o in output):
        output = {f"{i}.{k}": v for i, o in enumerate(output) for k, v in o.items()}
    first = first_tensor(output)
    if first is None:
        raise ModelError("the model gives no tensor")
    return first


def create(name: str) -> Subject:
    """The model at the smallest size at which it runs. Raises ModelError when it runs at none."""
    drawn = sketch(name)
    return drawn if drawn.parameters > REAL else filled(drawn)


def parameters_of(name: str) -> int:
    """The number of a model's parameters at its default size: what its weights say, or from a model without data."""
    if name.startswith(TORCHVISION):
        weights = list(get_model_weights(name.removeprefix(TORCHVISION)))
        if weights:
            return int(weights[-1].meta["num_params"])
    with torch.device("meta"):
        return sum(p.numel() for p in surgeon.create_model(name).parameters())


def sketch(name: str) -> Subject:
    """The model without data where it can be made so, with data else."""
    if "/detection/" not in family_of(name):
        with contextlib.suppress(Exception):  # some cannot be made without data: then with data
            return _search(name, fake=True)
    return _search(name, fake=False)


def filled(subject: Subject) -> Subject:
    """The same with random weights."""
    args = subject.model.__dict__[ORIGIN]["args"]
    return _made(subject.name, subject.size, args) if subject.fake else subject


def _made(name: str, size: tuple[int, ...], args: dict[str, Any], fake: bool = False) -> Subject:
    torch.manual_seed(0)
    with torch.device("meta") if fake else contextlib.nullcontext():
        model = surgeon.create_model(name, input_size=size, model_args=args).eval()
    return Subject(name, model, size, fake)


def _search(name: str, *, fake: bool) -> Subject:
    causes: list[str] = []
    drops = [{}] if name.startswith(TORCHVISION) else list(DROPS)
    for size, args in _sizes(name):
        while drops:
            try:
                subject = _made(name, size, {**args, **drops[0]}, fake)
                for training in (True, False):  # auxiliary heads want larger images, in training alone
                    run(subject, subject.model, training)
                return subject
            except Exception as error:  # architectures raise anything at sizes that they do not take
                causes.append(f"{size}: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
                if len(drops) == 1 or "unexpected keyword" not in str(error):
                    break
                drops.pop(0)
    raise ModelError(f"{name} runs at no size that was tried: {causes[-1] if causes else 'none'}")


def _sizes(name: str) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Sizes and what a model is told of them, the smallest first."""
    family = family_of(name)
    if "/optical_flow/" in family:
        yield (3, 128, 128), {}
    elif "/video/" in family:
        yield from (((3, *clip), {}) for clip in CLIPS)
    elif "/detection/" in family:
        yield (3, 64, 64), {"min_size": 64, "max_size": 64}
        yield (3, 64, 64), {}
    elif name.startswith(TORCHVISION):
        key = "image_size" if family.endswith("/vision_transformer") else None
        yield from (((3, s, s), {key: s} if key else {}) for s in (*SIDES, 224, 299))
    else:
        yield from _timm_sizes(name)


def _timm_sizes(name: str) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    channels, *default = cfg.input_size
    least = max(cfg.min_input_size[1:]) if cfg.min_input_size else 0
    for side in SIDES:
        if least <= side < max(default):
            yield (channels, side, side), {"img_size": side} if cfg.fixed_input_size else {}
    yield (channels, *default), {}
