"""A network as one file for other runtimes: ONNX, or an exported program of torch; checked before it appears.

What folds is folded first, so that the file has the stock network's operators where it can. Neither kind of file
needs surgeon to be run.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from surgeon.edits import Plan
from surgeon.errors import ArtifactError, SurgeonError, VerificationError, nearest
from surgeon.models import input_size_of, name_of, normalization_of, num_classes_of
from surgeon.surgery import fold as fold_network
from surgeon.surgery.tree import surgery_of
from surgeon.verification import FOLD_TOLERANCE, Check, relative

Format = Literal["onnx", "torch-export"]
FORMATS: tuple[str, ...] = get_args(Format)
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
METADATA = "surgeon.json"
"""Name of the extra file in an exported program that has the metadata; an ONNX file has it as `metadata_props`."""
BATCHES = (1, 3)
"""Numbers of images that a file is checked with; with a fixed batch, the first of them alone."""
_LARGEST_ONNX = 2**31 - 2**20  # bytes; protobuf's limit, less what is no weight


class Exported(BaseModel):
    """A file that was written, and how far its outputs are from the network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: Format
    opset: int | None = Field(None, description="of ONNX's operators; None for an exported program")
    input_size: tuple[int, ...] = Field(description="(C, H, W), or (C, T, H, W)")
    dynamic_batch: bool
    folded: bool = Field(description="whether nothing of a surgery is left in the file")
    edits_left: int = Field(description="edits that do not fold, or were not to be folded")
    bytes: int
    difference: float | None = Field(
        description="largest relative difference of an output, in the 2-norm; None if unchecked"
    )
    check: Check


def export(
    model: nn.Module,
    path: str | Path,
    *,
    format: Format = "onnx",
    input_size: Sequence[int] | None = None,
    dynamic_batch: bool = True,
    fold: bool = True,
    check: bool = True,
    overwrite: bool = False,
    opset: int | None = None,
) -> Exported:
    """Write a network, rewritten or stock, as it is in evaluation mode and in 32-bit floats; it is left untouched.

    path: of the file, ending in .onnx or .pt2 as the format has it. input_size: (C, H, W) of one image; by default
    what the network says of itself. dynamic_batch: any number of images at a time; else one. fold: fold what folds
    and export the rest as it is; False exports the layers of the surgery. check: run the file, by onnxruntime or
    by torch, and hold its outputs on seeded images against those of `model` as it was given. opset: version of
    ONNX's operators; by default torch's choice.

    The input is called `images`, (N, *input_size), normalised as the network takes them; a single output `logits`.
    The file carries names, sizes, normalisation, versions and the surgery in short (`metadata` of this module).

    Raises ArtifactError for a path that is taken or has another format's ending, VerificationError for a file that
    computes something else (then nothing is written), and SurgeonError for a network that torch cannot export,
    for a missing package, and for sizes that nobody knows.
    """
    path = Path(path)
    _check_request(path, format, overwrite=overwrite, opset=opset)
    packages = {"onnx": ["onnx", "onnxscript"], "torch-export": []}[format]
    _need([*packages, *(["onnxruntime"] if check and format == "onnx" else [])], format)
    size = _size(model, input_size)
    network, record = _prepared(model, fold)
    with _beside(path) as work:
        write = _write_onnx if format == "onnx" else _write_program
        known = _metadata(model, record, size)
        number = write(network, work, size, dynamic_batch, opset, known)
        found, difference = _not_checked(), None
        if check:
            run = _run_onnx(work) if format == "onnx" else _run_program(work)
            difference, detail = _differences(model, run, size, BATCHES if dynamic_batch else BATCHES[:1])
            found = Check(name="equal", ok=difference <= FOLD_TOLERANCE, detail=detail)
            if not found.ok:
                raise VerificationError(
                    f"{path} was not written: as {format}, this {name_of(model)} gives other outputs ({detail}; "
                    f"{FOLD_TOLERANCE:.0e} is allowed)"
                )
        weight = work.stat().st_size
        os.replace(work, path)
    return Exported(
        path=str(path), format=format, opset=number, input_size=size, dynamic_batch=dynamic_batch,
        folded=record is None, edits_left=len(record.edits) if record else 0, bytes=weight,
        difference=difference, check=found,
    )  # fmt: skip


def metadata(path: str | Path) -> dict[str, Any]:
    """What an exported file says of itself: architecture, sizes, normalisation, versions and the surgery.

    Raises ArtifactError for a file that is no export of surgeon's.
    """
    path = Path(path)
    try:
        if path.suffix == SUFFIXES["onnx"]:
            _need(["onnx"], "onnx")
            import onnx

            props = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
            text = props["surgeon"]
        else:
            extra = {METADATA: ""}
            torch.export.load(path, extra_files=extra)
            text = extra[METADATA]
        return json.loads(text)
    except SurgeonError:
        raise
    except Exception as error:  # whatever readers of ONNX and of torch raise on another file
        raise ArtifactError(f"{path} is no file that surgeon exported: {_line(error)}") from error


# -- before -------------------------------------------------------------------------------------------


def _check_request(path: Path, format: str, *, overwrite: bool, opset: int | None) -> None:
    if format not in FORMATS:
        raise SurgeonError(f"unknown format {format!r}; {nearest(str(format), FORMATS)}")
    wanted = SUFFIXES[format]
    if path.suffix != wanted:
        other = [f for f, suffix in SUFFIXES.items() if suffix == path.suffix]
        hint = f", or export as {other[0]}" if other else ""
        raise ArtifactError(
            f"{path} does not end in {wanted}, by which files of {format} are known: write {path.with_suffix(wanted)}{hint}"
        )
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; an export is one file")
    if path.exists() and not overwrite:
        raise ArtifactError(f"{path} exists already; choose another file, or overwrite it (--overwrite)")
    if opset is not None and format != "onnx":
        raise SurgeonError(f"opset={opset} is of ONNX's operators; {format} has none")
    if opset is not None and opset < 18:
        raise SurgeonError(f"opset={opset} is older than what torch exports; 18 is the oldest")


def _need(packages: Sequence[str], format: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            less = "; check=False does without" if package == "onnxruntime" else ""
            raise SurgeonError(
                f"format {format} needs {package}: pip install 'surgeon[export]'{less}"
            ) from None


def _size(model: nn.Module, given: Sequence[int] | None) -> tuple[int, ...]:
    record = surgery_of(model) or model.__dict__.get("folded_from")
    size = given or (record.input_size if record else None) or input_size_of(model)
    if size is None:
        raise SurgeonError(
            f"the input size of {type(model).__name__} is not known; give input_size=(C, H, W), for instance (3, 224, 224)"
        )
    return tuple(int(s) for s in size)


def _prepared(model: nn.Module, fold: bool) -> tuple[nn.Module, Plan | None]:
    """A copy to export, on the CPU, in float32 and evaluation mode; and the surgery that is left in it."""
    network = copy.deepcopy(model).cpu().float()  # before folding, whose products a half would round
    if fold and surgery_of(network) is not None:
        network = fold_network(network, partial=True)
    return network.eval().requires_grad_(False), surgery_of(network)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file beside `path` with the same ending, gone afterwards unless it was renamed."""
    work = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        yield work
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        work.unlink(missing_ok=True)


def _metadata(model: nn.Module, left: Plan | None, size: tuple[int, ...]) -> dict[str, Any]:
    import timm

    import surgeon

    record = surgery_of(model) or model.__dict__.get("folded_from")
    normal = normalization_of(model)
    known: dict[str, Any] = {
        "architecture": name_of(model),
        "input_size": list(size),
        "mean": list(normal[0]) if normal else None,
        "std": list(normal[1]) if normal else None,
        "num_classes": num_classes_of(model),
        "recipe": record.recipe if record else None,
        "surgery": None,
        "versions": {"surgeon": surgeon.__version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    if record:
        known["surgery"] = {
            "operations": record.operations, "seed": record.seed, "edits": len(record.edits),
            "edits_left": len(left.edits) if left else 0, "fingerprint": record.fingerprint,
        }  # fmt: skip
    return known


# -- writing ------------------------------------------------------------------------------------------


def _write_onnx(
    network: nn.Module, path: Path, size: tuple[int, ...], dynamic: bool, opset: int | None, known: dict[str, Any]
) -> int:  # fmt: skip
    weight = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if weight > _LARGEST_ONNX:
        raise SurgeonError(
            f"{weight / 2**30:.1f} GiB of weights do not fit into one ONNX file, which ends at 2 GiB; use format='torch-export'"
        )
    with _told("onnx", network, dynamic), torch.no_grad():
        exported, single = _exported(network, size, dynamic)
        _without_divisors(exported.graph_module)
        program = torch.onnx.export(
            exported, dynamo=True, opset_version=opset, verbose=False, input_names=["images"],
            output_names=["logits"] if single else None,
        )  # fmt: skip
        assert program is not None
        number = int(program.model.opset_imports[""])
        flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items() if v is not None}
        program.model.metadata_props.update({**flat, "opset": str(number), "surgeon": json.dumps(known)})
        program.save(path, external_data=False)
    return number


def _write_program(
    network: nn.Module, path: Path, size: tuple[int, ...], dynamic: bool, opset: int | None, known: dict[str, Any]
) -> None:  # fmt: skip
    with _told("torch-export", network, dynamic), torch.no_grad():
        exported, _ = _exported(network, size, dynamic)
        torch.export.save(exported, path, extra_files={METADATA: json.dumps(known)})


def _exported(
    network: nn.Module, size: tuple[int, ...], dynamic: bool
) -> tuple[torch.export.ExportedProgram, bool]:
    """The network as torch's exported program, and whether its output is a single tensor."""
    images = _images(2 if dynamic else 1, size)
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    single = isinstance(network(images), Tensor)
    return torch.export.export(network, (images,), dynamic_shapes=shapes, strict=False), single


def _without_divisors(module: torch.fx.GraphModule) -> None:
    """Average pooling by a divisor of its own as ordinary average pooling and a factor, in place.

    torch's translation into ONNX passes over `divisor_override` in silence, and the file computes something else.
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


def _images(count: int, size: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(count))


@contextmanager
def _told(format: str, network: nn.Module, dynamic: bool) -> Iterator[None]:
    """Quiet, and an error in one line that says what may work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (OSError, SurgeonError, MemoryError):
            raise
        except Exception as error:  # whatever torch's exporters raise
            hint = "; dynamic_batch=False (--fixed-batch) may work" if dynamic else ""
            raise SurgeonError(
                f"{type(network).__name__} cannot be exported as {format}: {_line(_cause(error))}{hint}"
            ) from error


def _cause(error: BaseException) -> BaseException:
    """What torch's exporter for ONNX was raised from: its own text is a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


# -- checking -----------------------------------------------------------------------------------------

Run = Callable[[Tensor], list[Tensor]]


def _not_checked() -> Check:
    return Check(name="equal", ok=None, detail="not compared: check=False")


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: [torch.from_numpy(o) for o in session.run(None, {name: images.numpy()})]


def _run_program(path: Path) -> Run:
    network = torch.export.load(path).module()
    return lambda images: _tensors(network(images))


def _tensors(output: Any) -> list[Tensor]:
    return [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]


def _differences(
    model: nn.Module, run: Run, size: tuple[int, ...], batches: Sequence[int]
) -> tuple[float, str]:
    """The largest relative difference of any output, and a line about it."""
    reference, worst = copy.deepcopy(model).cpu().float().eval(), 0.0
    with torch.no_grad():
        for count in batches:
            images = _images(count, size)
            wanted, got = _tensors(reference(images)), run(images)
            if len(wanted) != len(got):
                worst = float("inf")
                break
            pairs = zip(got, wanted, strict=True)
            worst = max([worst, *(relative(a, b) for a, b in pairs)])
    told = " and ".join(map(str, batches))
    return worst, f"largest relative difference {worst:.1e}, on {told} images"
