"""The first convolution's kernels on the sheet of kernel average pooling, as stored and in effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from surgeon.errors import FoldError, PictureError, SurgeonError
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.trees.paths import has
from surgeon.insight.listening import network_of
from surgeon.insight.picture import Picture, blank, png
from surgeon.insight.raster import show
from surgeon.insight.tiles import LONG, Kernels, tiled
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.sheet import pooled_sheet, sheet_shape
from surgeon.surgery import sites
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import folded_network
from surgeon.tensors.convolution import effective_weight
from surgeon.tensors.instead import convolves

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class KernelSheet:
    """A convolution's kernels as stored, and as they act when the pooling behind it is folded in.

    acting: Equal to `stored` if nothing is folded in; None if it does not fold, with the reason in `why`.
    """

    layer: str
    stored: Kernels
    acting: Kernels | None
    why: str = ""


def kernel_sheet(model: nn.Module) -> KernelSheet:
    """Return the first layer's kernels on the sheet of kernel average pooling (Bashivan et al., Fig. 7).

    Without pooling, the sheet that pooling would have is used. Kernels are in the layer's own order on the
    sheet.

    Args:
        model: A network, rewritten or stock.

    Returns:
        The kernels, detached copies on the CPU.

    Raises:
        PictureError: The first layer with weights is not a Conv2d.

    Examples:
        >>> from torch import nn
        >>> from surgeon.insight.kernels import kernel_sheet
        >>> kernels = kernel_sheet(nn.Sequential(nn.Conv2d(3, 4, 3)))
        >>> kernels.layer, kernels.stored.sheet
        ('0', (2, 2))
    """
    network = network_of(model)
    name, conv = _first(network)
    record = surgery_of(network)
    behind = [e for e in record.edits if e.site == name] if record else []
    pool = next(
        (
            m
            for e in behind
            if e.layer
            for m in network.get_submodule(e.layer).modules()
            if isinstance(m, KernelAveragePool)
        ),
        None,
    )
    channels = conv.out_channels
    order = slice(None) if pool is None or pool.order is None else pool.order.cpu()
    stored = Kernels(conv.weight.detach().cpu()[order].clone(), pool.sheet if pool else sheet_shape(channels))
    if pool is None:
        return KernelSheet(name, stored, Kernels(effective_weight(conv).cpu().clone(), stored.sheet))
    try:
        folded = folded_network(network, partial=True)
    except FoldError as error:
        return KernelSheet(name, stored, None, str(error))
    left = surgery_of(folded)
    kept = next((e for e in left.edits if e.site == name), None) if left else None
    if kept is not None:
        return KernelSheet(name, stored, None, kept.note or f"{kept.operation} does not fold")
    sheet = pooled_sheet(pool.sheet, pool.kernel_size, pool.stride, pool.dims, even=pool.even)
    weight = effective_weight(folded.get_submodule(name))  # type: ignore[arg-type]  # the place of `conv`
    return KernelSheet(name, stored, Kernels(weight.cpu()[order].clone(), sheet))


def _first(network: nn.Module) -> tuple[str, nn.Conv2d]:
    parts = _in_order(network)
    for name, module in (m for part in parts for m in network.get_submodule(part).named_modules(prefix=part)):
        if isinstance(module, nn.Conv2d):
            return name, module
        if convolves(module) or isinstance(module, (nn.Linear, nn.Embedding)):
            raise PictureError(
                f"its first layer, {name}, is a {type(module).__name__}; kernels need a Conv2d"
            )
    raise PictureError(f"{type(network).__name__} has no convolution, so no kernels to show")


def _in_order(network: nn.Module) -> list[str]:
    """The modules of a network as they are called; as they are registered, where no trace tells the order."""
    if isinstance(network, Rewritten):
        return [str(n.target) for n in network.eval_graph.nodes if n.op == "call_module"]
    try:
        names = [s.name for s in sites(network) if has(network, s.name)]
    except SurgeonError:
        names = []
    return names or [""]


def draw_kernels(sheet: KernelSheet) -> Figure:
    """Draw one tile per kernel at its place on the sheet: in colour for three inputs, otherwise in gray.

    Gray is 0, and the largest |w| of a sheet is white or black.

    Args:
        sheet: The kernels.

    Returns:
        The figure.
    """
    panels = [("as stored", sheet.stored)]
    if sheet.acting is not None and not _same(sheet):
        panels.append(("as they act", sheet.acting))
    tiles = [tiled(k) for _, k in panels]
    wide = any(t.shape[1] > 1.5 * t.shape[0] for t in tiles)
    across = 1 if wide else len(panels)
    width = 5.6 if wide else 5.6 / max(across, 1.6)
    height = max(width * t.shape[0] / t.shape[1] for t in tiles)
    figure = blank((height + 0.35) * (len(panels) // across))
    engine: Any = figure.get_layout_engine()
    engine.set(wspace=0.06)
    axes = figure.subplots(len(panels) // across, across, squeeze=False).flatten()
    for axis, (title, kernels), tile in zip(axes, panels, tiles, strict=True):
        show(axis, tile)
        rows, columns = kernels.sheet
        size = f"{rows}×{columns} kernels" + (f" in rows of {LONG}" if rows == 1 and columns > LONG else "")
        most = float(kernels.weight.abs().max())
        axis.set_title(f"{title}: {size}, |w| ≤ {most:.2g}", fontsize=8.5)
    return figure


def _same(sheet: KernelSheet) -> bool:
    return sheet.acting is not None and torch.equal(sheet.acting.weight, sheet.stored.weight)


def pictured(model: nn.Module) -> Picture:
    """Make the picture of `kernel_sheet`.

    Args:
        model: A network, rewritten or stock.

    Returns:
        The picture.

    Raises:
        PictureError: The first layer with weights is not a Conv2d.
    """
    sheet = kernel_sheet(model)
    inputs = sheet.stored.weight.shape[1]
    how = (
        "in colour" if inputs == 3 else "in gray" if inputs == 1 else f"the mean over {inputs} inputs in gray"
    )
    numbers = f"as stored, neighbours have a mean cosine similarity of {sheet.stored.neighbours:.2f}"
    if sheet.acting is None:
        numbers += f"; how they act is not shown: {sheet.why}"
    elif not _same(sheet):
        numbers += f", as they act {sheet.acting.neighbours:.2f}"
    rows, columns = sheet.stored.sheet
    return Picture(
        "kernels",
        f"Kernels of the first convolution ({sheet.layer})",
        f"Each tile is one kernel, {how}, at its place on the sheet of channels; gray is 0, and each sheet "
        f"has its own scale. Along the sheet, {numbers}. After Bashivan et al., Fig. 7.",
        f"A sheet of {rows} by {columns} kernels of {sheet.layer}; {numbers}.",
        png(lambda: draw_kernels(sheet)),
    )
