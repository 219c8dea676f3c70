"""Check a rewritten network against the one before the surgery."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from surgeon import html
from surgeon.edits import Plan
from surgeon.errors import FoldError, SurgeonError, VerificationError
from surgeon.extra_state import without_extra
from surgeon.graph.measuring.measure import images_of
from surgeon.graph.rewritten.network import Rewritten
from surgeon.host import in_own_state
from surgeon.kept_modes import mode
from surgeon.models.facts import input_size_of
from surgeon.models.logits import first_tensor
from surgeon.selection import is_call
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import folded_network

FOLD_TOLERANCE = 1e-5
"""Relative error (2-norm over all logits) up to which a folded network counts as equal (`tolerance_of`)."""


class Check(BaseModel):
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether it holds; None if it could not be checked.
        detail: The evidence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ok: bool | None
    detail: str = ""


class Checks(tuple[Check, ...]):
    """Checks in their order, displayed as a table in a notebook.

    Examples:
        >>> checks = Checks([Check(name="names", ok=True, detail="12 tensors")])
        >>> checks[0].name, "12 tensors" in checks._repr_html_()
        ('names', True)
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: a row a check."""
        said = {True: "ok", False: "FAILED", None: "–"}
        return html.table(
            ((said[c.ok], c.name, c.detail) for c in self), head=("", "check", "what was found")
        )


@in_own_state()
def verify(before: nn.Module, after: nn.Module, *, images: Tensor | None = None) -> Checks:
    """Check what a rewritten network does against what its record says. Neither network is changed.

        names     every tensor of a layer that surgery did not replace keeps its name and shape
        visible   every inserted layer is called in the training or the evaluation graph
        finite    outputs are finite in evaluation mode
        effect    a function that the record calls kept is kept
        folds     a network that the record calls foldable folds, and then gives the same outputs, of its
                  architecture if the record says so

    Args:
        before: The network that was cut.
        after: The rewritten network.
        images: (N, C, H, W), as the networks take them. Default: two images of seeded noise at the recorded
            size.

    Returns:
        The five checks in this order, a tuple; the last three are None if no image size is known.

    Raises:
        VerificationError: `after` has had no surgery, or a network returns no tensor.

    Examples:
        >>> import surgeon
        >>> model = surgeon.create_model("zoo/shallow2")
        >>> checks = surgeon.verify(model, surgeon.apply(model, "kap"))
        >>> [check.name for check in checks if check.ok]
        ['names', 'visible', 'finite', 'folds']
    """
    record = surgery_of(after)
    if record is None:
        raise VerificationError(f"this {type(after).__name__} has had no surgery; there is nothing to verify")
    checks = [names_kept(before, after, record), layers_called(after, record)]
    if images is None and record.input_size is not None and record.measured:
        images = torch.randn(2, *record.input_size, generator=torch.Generator().manual_seed(0))
    if images is None:
        unknown = [Check(name=n, ok=None, detail="no input size") for n in ("finite", "effect", "folds")]
        return Checks([*checks, *unknown])
    old, new = _outputs(before, images), _outputs(after, images)
    checks.append(
        Check(name="finite", ok=bool(torch.isfinite(new).all()), detail=f"output {tuple(new.shape)}")
    )
    kept = {"exact": 0.0, "folds": 1e-4}.get(record.effect)
    if kept is None:
        checks.append(Check(name="effect", ok=None, detail=f"the record says {record.effect}"))
    else:
        error = relative(new, old)
        checks.append(Check(name="effect", ok=error <= kept, detail=f"relative difference {error:.1e}"))
    checks.append(_folds(after, record, images, new))
    return Checks(checks)


def demand(checks: Iterable[Check]) -> None:
    """Raise an error for checks that failed.

    Args:
        checks: What `verify` returned.

    Raises:
        VerificationError: Some checks failed; the message names all of them.
    """
    failed = [f"{c.name} ({c.detail})" for c in checks if c.ok is False]
    if failed:
        raise VerificationError(f"the rewritten network fails: {'; '.join(failed)}")


def tolerance_of(model: nn.Module) -> float:
    """Return the relative error up to which a folded network counts as equal.

    Args:
        model: The rewritten network.

    Returns:
        `FOLD_TOLERANCE`, or for 16-bit parameters four units of rounding, which rounding the folded weights
        costs.
    """
    kinds = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return max(
        [FOLD_TOLERANCE, *(4 * torch.finfo(k).eps for k in kinds if k in (torch.float16, torch.bfloat16))]
    )


def relative(value: Tensor, reference: Tensor) -> float:
    """Return ‖value − reference‖ / ‖reference‖ over all entries, computed in float64.

    Args:
        value: A tensor.
        reference: A tensor.

    Returns:
        The relative error; infinite if the shapes differ.

    Examples:
        >>> import torch
        >>> relative(torch.tensor([3.0, 9.0]), torch.tensor([3.0, 4.0]))
        1.0
    """
    if value.shape != reference.shape:
        return float("inf")
    difference = (value.double() - reference.double()).norm()
    return float(difference / reference.double().norm().clamp_min(1e-30))


@in_own_state()
def compare(before: nn.Module, after: nn.Module) -> Check:
    """Check that two networks give the same logits in evaluation mode, up to `tolerance_of`, on seeded noise.

    Args:
        before: The reference.
        after: The network to compare.

    Returns:
        The check; None in `ok` if the input size is unknown.

    Raises:
        VerificationError: The logits differ, or a network returns no tensor.
    """
    size = input_size_of(before)
    if size is None:
        return Check(name="equal", ok=None, detail="not compared: the input size is not known")
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    error = relative(_outputs(after, images), _outputs(before, images))
    check = Check(
        name="equal", ok=error <= tolerance_of(after), detail=f"relative difference of the logits {error:.1e}"
    )
    demand([check])
    return check


def _outputs(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits in evaluation mode, without gradients."""
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    with mode(model, False), torch.no_grad():
        logits = first_tensor(model(*[images.to(like, copy=True)] * images_of(model)))
    if logits is None:
        raise VerificationError(f"{type(model).__name__} gives no tensor")
    return logits


def names_kept(before: nn.Module, after: nn.Module, record: Plan) -> Check:
    """Check that every tensor of a layer that surgery did not replace keeps its name and shape.

    Args:
        before: The network that was cut.
        after: The rewritten network.
        record: Its record.

    Returns:
        The check "names".
    """
    sites = [before.get_submodule(e.site) for e in record.edits if e.replaces and not is_call(e.site)]
    every = before.named_modules(remove_duplicate=False)
    replaced = tuple(f"{n}." for n, m in every if any(m is s for s in sites))
    old = {
        k: tuple(v.shape)
        for k, v in without_extra(nn.Module.state_dict(before)).items()
        if not k.startswith(replaced)
    }
    new = {k: tuple(v.shape) for k, v in without_extra(nn.Module.state_dict(after)).items()}
    wrong = [k for k, shape in old.items() if new.get(k) != shape]
    return Check(
        name="names", ok=not wrong, detail=f"{len(old)} tensors" if not wrong else f"lost: {wrong[:3]}"
    )


def layers_called(after: nn.Module, record: Plan) -> Check:
    """Check that every inserted layer is called in the training or the evaluation graph.

    Args:
        after: The rewritten network.
        record: Its record.

    Returns:
        The check "visible".
    """
    called: set[str] = set()
    for name, module in after.named_modules():
        if isinstance(module, Rewritten):
            prefix = f"{name}." if name else ""
            for graph in module.graphs:
                called |= {prefix + str(n.target) for n in graph.nodes if n.op == "call_module"}
    layers = [e.layer for e in record.edits if e.layer]
    unseen = [n for n in layers if n not in called]
    return Check(
        name="visible",
        ok=not unseen,
        detail=f"{len(layers)} layers" if not unseen else f"not called: {unseen[:3]}",
    )


def _folds(after: nn.Module, record: Plan, images: Tensor, outputs: Tensor) -> Check:
    """Check that the network folds if its record says so, and then gives the same outputs."""
    try:
        folded = folded_network(after)
    except FoldError as error:
        return Check(name="folds", ok=not record.folds, detail=str(error)[:160])
    except SurgeonError as error:
        return Check(name="folds", ok=False, detail=str(error)[:160])
    difference = relative(_outputs(folded, images), outputs)
    return Check(
        name="folds", ok=difference <= tolerance_of(after), detail=f"relative difference {difference:.1e}"
    )
