"""The operation `adversarial-noise`: ANL and CANL (You et al. 2019), LAT and Gaussian noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.errors import SelectionError
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, sizes, usable_of
from surgeon.quantities import Quantity
from surgeon.selection import INPUT, Site, select

if TYPE_CHECKING:
    from torch import Generator, nn

    from surgeon.results.paper import Paper


class AdversarialNoiseLayers(Operation):
    """Add noise along the loss's gradient to activations in training; nothing in evaluation.

    Attributes:
        source: "anl" uses the gradient of this batch (two rounds a step), "canl" a cached gradient of each
            sample's class, "lat" the sign of the last batch's gradient; "gaussian" is the control N(0,
            (ε/4)²).
        epsilon: ε, in standard deviations of the activations for anl and canl, otherwise in units of the
            activations.
        after: "norm": behind norms, before the activation. "conv": behind convolutions.
        norms: The family of norms: "batch" as in the paper, another one, or "any".
        at_input: Also add a layer at the network's input.
        per_sample: Draw one magnitude per sample, instead of one per batch.
        momentum: Weight of the current batch in a running s(h). Default: each batch's own.
        deviation: Multiply the noise of anl and canl by s(h), eq. 4; without it ε is in the units of the activations.
        magnitude: "drawn": r by eq. 2; "fixed": r = ε/2, its mean (anl and canl).
        cache_dtype: Data type of canl's cache. Default: that of the activations.
        num_classes: Classes of canl's cache. Default: those of the model.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> surgeon.apply(network, "anl", input_size=(3, 8, 8), epsilon=0.05).get_submodule("1.anl")
        ANL(epsilon=0.05)
    """

    op: Literal["adversarial-noise"] = "adversarial-noise"
    source: Literal["anl", "canl", "lat", "gaussian"] = "anl"
    epsilon: Quantity = 0.03
    after: Literal["norm", "conv"] = "norm"
    norms: Literal["batch", "layer", "group", "instance", "rms", "any"] = "batch"
    at_input: bool = False
    per_sample: bool = True
    momentum: float | None = Field(default=None, gt=0, lt=1)
    deviation: bool = True
    magnitude: Literal["drawn", "fixed"] = "drawn"
    cache_dtype: Literal["float16", "bfloat16", "float32"] | None = None
    num_classes: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> AdversarialNoiseLayers:
        changed = [
            n for n, v in (("deviation", not self.deviation), ("magnitude", self.magnitude != "drawn")) if v
        ]
        if changed and self.source not in ("anl", "canl"):
            raise ValueError(
                f"{changed[0]} is of sources 'anl' and 'canl'; {self.source!r} has neither s(h) nor r"
            )
        if not self.deviation and self.momentum is not None:
            raise ValueError("momentum is of s(h), which deviation=false leaves out")
        return self

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a noise layer behind each usable norm or convolution.

        Args:
            sites: The sites of the network.
            context: What is known of the network besides.

        Returns:
            The proposed edits; for canl, a note says how large the cache is.

        Raises:
            SelectionError: No usable site, or the number of classes is unknown (canl).
        """
        classes = self.num_classes or context.num_classes
        if self.source == "canl" and classes is None:
            raise SelectionError(
                "canl caches a gradient for each class: set num_classes, the model does not tell it"
            )
        wanted = [s for s in sites if s.kind != "norm" or self.norms in ("any", s.family)]
        if self.after == "norm" and not any(s.kind == "norm" for s in wanted):
            others = Counter(s.cls for s in sites if s.kind == "norm")
            has = ", ".join(f"{n} × {c}" for c, n in others.items()) or "no norms at all"
            here = "set adversarial-noise.norms=any to use these, or " if others else "set "
            raise SelectionError(
                f"{self.source} stands after {'' if self.norms == 'any' else self.norms + ' '}norms, and the model has "
                f"none ({has}); {here}adversarial-noise.after=conv to use its convolutions"
            )
        chosen = select(wanted, self.select, self.after, self.op)
        usable, passed, remarks = usable_of(chosen, self.op, self._unfit)
        places = [s for s in sites if s.kind == INPUT and self.at_input] + usable
        edits = tuple(self._edit(s, classes) for s in places)
        notes = [*remarks]
        if self.epsilon == 0:
            notes.append(
                Note(
                    code="idle",
                    severity="info",
                    text="adversarial-noise.epsilon=0 adds no noise: training is that of the stock network",
                )
            )
        if self.source == "canl":
            width = {"float16": 2, "bfloat16": 2}.get(self.cache_dtype or "", 4)
            numbers = sum(e.growth.buffers for e in edits)
            half = "" if width == 2 else "; adversarial-noise.cache_dtype=float16 halves it"
            size = f"{numbers * width / 2**20:.1f} MiB" if numbers else "unknown without the input size"
            notes.append(
                Note(
                    code="cache", severity="info", text=f"canl's cache holds {classes} classes: {size}{half}"
                )
            )
        return Proposal(edits, passed, tuple(notes))

    def _unfit(self, site: Site) -> str:
        """Return why a site cannot take a layer, or ""."""
        if site.fused and not site.opens:
            return f"{site.cls} is norm and activation in one, and surgeon cannot open it"
        if site.calls > 1:
            return f"it is called {site.calls} times a pass, and the layer keeps one gradient"
        if site.logits:
            return "its channels are the classes"
        if self.source == "canl" and site.folded:
            return "its rows are not the images, whose classes the cache goes by"
        return ""

    def _edit(self, site: Site, classes: int | None) -> Edit:
        """Make the edit of one site."""
        numbers = math.prod(site.out_shape) if site.out_shape else 0
        at_input = site.kind == INPUT
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{INPUT}_{self.source}" if at_input else f"{site.name}.{self.source}",
            settings=dict(num_classes=classes if self.source == "canl" else None),
            traits=Traits(stochastic="train", train_only=True),
            growth=Growth(buffers=(classes or 0) * numbers if self.source == "canl" else 0),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the noise layer of the source.

        Args:
            edit: The edit.
            module: The module before it; None at the network's input.
            generator: Not used: the layer's own stream starts from the edit's seed.

        Returns:
            The inserted layer.
        """
        import torch

        from surgeon.methods.adversarial_noise.named_layers import make_layer

        dtype = getattr(torch, self.cache_dtype) if self.cache_dtype else None
        layer = make_layer(
            self.source,
            self.epsilon,
            per_sample=self.per_sample,
            momentum=self.momentum,
            num_classes=sizes(edit)["num_classes"],
            cache_dtype=dtype,
            seed=edit.seed,
            deviation=self.deviation,
            magnitude=self.magnitude,
        )
        return Cut(layer=layer)

    @classmethod
    def paper(cls) -> Paper:
        """Return the tables of the paper, as its evaluation runs them."""
        from surgeon.methods.adversarial_noise.paper import PAPER

        return PAPER

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None
