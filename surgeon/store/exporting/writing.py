"""Write both kinds of file with torch's exporters."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.disk.writing import patient
from surgeon.errors import ExportError, SurgeonError, either
from surgeon.extra_state import without_extra
from surgeon.store.exporting.description import METADATA, line
from surgeon.store.exporting.request import Format
from surgeon.store.exporting.seal import OPEN, SEAL, seal
from surgeon.torch_private import tree_flatten_with_path

_LARGEST_ONNX = 2**31 - 2**20  # bytes: protobuf's 2 GiB, less room for the graph


def write(
    network: nn.Module,
    path: Path,
    format: Format,
    *,
    size: tuple[int, ...],
    dynamic: bool,
    opset: int | None,
    known: dict[str, Any],
) -> int | None:
    """Write a file of either kind.

    Args:
        network: the network, on the CPU, in float32 and evaluation mode.
        path: the file.
        format: its kind.
        size: (C, H, W) of one image.
        dynamic: whether the batch size is free.
        opset: version of ONNX's operators; None for torch's choice.
        known: metadata, stored in the file.

    Returns:
        The opset that was used; None for torch's exported program.

    Raises:
        ExportError: the weights exceed ONNX's 2 GiB, or torch cannot export the network.
    """
    number = None
    if format == "onnx":
        _check_weight(network)
    with _told(format, network, dynamic), torch.no_grad():
        exported, names = _exported(network, size, dynamic)
        if format == "onnx":
            number = _write_onnx(exported, path, names, opset, known)
        else:
            with patient(path) as file:
                torch.export.save(exported, file, extra_files={METADATA: json.dumps(known)})
    seal(path)
    return number


def _check_weight(network: nn.Module) -> None:
    """Raise ExportError if the weights do not fit into one ONNX file."""
    weight = sum(t.numel() * t.element_size() for t in without_extra(network.state_dict()).values())
    if weight > _LARGEST_ONNX:
        raise ExportError(
            f"{weight / 2**30:.1f} GiB of weights do not fit into one ONNX file, which ends at 2 GiB; use "
            + either("format='torch-export'", "--format torch-export")
        )


def _write_onnx(
    exported: torch.export.ExportedProgram,
    path: Path,
    names: Sequence[str],
    opset: int | None,
    known: dict[str, Any],
) -> int:
    """Write an exported program as ONNX, and return the opset. `names`: those of its outputs, where they have some."""
    _without_divisors(exported.graph_module)
    program = torch.onnx.export(
        exported,
        dynamo=True,
        opset_version=opset,
        verbose=False,
        input_names=["images"],
    )
    assert program is not None
    _name_outputs(program.model.graph, names)
    number = int(program.model.opset_imports[""])
    if opset is not None and number != opset:
        raise ExportError(f"torch gives this network in opset {number} and not in {opset}: leave opset out")
    flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items() if v is not None}
    program.model.metadata_props.update(
        {**flat, "opset": str(number), "surgeon": json.dumps(known), SEAL: OPEN}
    )
    program.save(path, external_data=False)
    return number


def _exported(
    network: nn.Module, size: tuple[int, ...], dynamic: bool
) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The network as torch's exported program, and the names of its outputs."""
    # Two images: torch.export treats a dimension of size 1 as a constant, even if it is said to be free.
    images = seeded_images(2 if dynamic else 1, size)
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    names = names_of_outputs(network(images))
    return torch.export.export(network, (images,), dynamic_shapes=shapes, strict=False), names


def names_of_outputs(output: object) -> list[str]:
    """Name the tensors that a network gives.

    Args:
        output: what it gives.

    Returns:
        `logits` for a single tensor; the keys of a mapping, joined by dots where one lies in another; nothing where
        no key tells the tensors apart.

    Examples:
        >>> from torch import ones
        >>> names_of_outputs({"logits": ones(1), "parts": {"aux": ones(1), "more": [ones(1)]}})
        ['logits', 'parts.aux', 'parts.more.0']
    """
    if isinstance(output, Tensor):
        return ["logits"]
    places = [path for path, leaf in tree_flatten_with_path(output)[0] if isinstance(leaf, Tensor)]
    # An index alone is no name: without keys the order says as much.
    if not any(hasattr(entry, "key") or hasattr(entry, "name") for path in places for entry in path):
        return []
    names = [".".join(_entry(entry) for entry in path) for path in places]
    return names if len(set(names)) == len(names) and all(names) else []


def _entry(entry: Any) -> str:
    """A step of the way to a tensor: a key, an attribute's name, or an index."""
    return str(next(getattr(entry, kind) for kind in ("key", "name", "idx") if hasattr(entry, kind)))


def _name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Give the outputs of an ONNX graph their names, in place; torch's stay where one of them is not of its own."""
    outputs = list(graph.outputs)
    own = {id(value) for value in outputs}
    if len(outputs) != len(names) or len(own) < len(outputs) or any(v.producer() is None for v in outputs):
        return
    others = {v.name for v in graph.inputs} | set(graph.initializers)
    for node in graph.all_nodes():
        others |= {value.name for value in node.outputs if id(value) not in own}
    for value, name in zip(outputs, names, strict=True):
        value.name = name if name not in others else f"output.{name}"


def _without_divisors(module: torch.fx.GraphModule) -> None:
    """Replace average pooling with a `divisor_override` by ordinary average pooling and a factor, in place.

    torch's ONNX exporter silently ignores `divisor_override`, so that the file would compute something else.
    """
    pool = torch.ops.aten.avg_pool2d.default
    for node in [n for n in module.graph.nodes if n.target is pool]:
        names = [a.name for a in pool._schema.arguments]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        divisor = given.get("divisor_override")
        if divisor is None or any(given.get("padding", ())) or given.get("ceil_mode"):
            continue
        kernel = given["kernel_size"]
        number = kernel[0] * kernel[-1] if len(kernel) > 1 else kernel[0] ** 2
        node.args, node.kwargs = tuple(given[n] for n in names[:3] if n in given), {}
        with module.graph.inserting_after(node):
            scaled = module.graph.call_function(torch.ops.aten.mul.Tensor, (node, number / divisor))
        scaled.meta = dict(node.meta)
        node.replace_all_uses_with(scaled, delete_user_cb=lambda user, own=scaled: user is not own)
    module.graph.lint()
    module.recompile()


def seeded_images(count: int, size: tuple[int, ...]) -> Tensor:
    """Normal random images (count, *size), the same for the same arguments.

    Args:
        count: number of images, which is also the seed.
        size: (C, H, W) of one image.
    """
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(count))


@contextmanager
def _told(format: str, network: nn.Module, dynamic: bool) -> Iterator[None]:
    """Silence warnings, and turn any failure into an ExportError of one line that says what may work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (OSError, SurgeonError, MemoryError):
            raise
        except Exception as error:  # whatever torch's exporters raise
            hint = f"; {either('dynamic_batch=False', '--fixed-batch')} may work" if dynamic else ""
            raise ExportError(
                f"{type(network).__name__} cannot be exported as {format}: {line(_cause(error))}{hint}"
            ) from error


def _cause(error: BaseException) -> BaseException:
    """The innermost cause of an error: the message of torch's ONNX exporter itself is a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
