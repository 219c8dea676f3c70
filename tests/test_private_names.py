"""Private names of torch's are taken in one file alone, which says what each is for."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _private(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            for name in [*(node.module or "").split("."), *(a.name for a in node.names)]:
                if name.startswith("_"):
                    yield f"{path.name}:{node.lineno} {node.module}.{name}"
        elif isinstance(node, ast.Attribute):
            first, *inner = ast.unparse(node).split("(")[0].split(".")
            if first == "torch" and any(n.isidentifier() and n[0] == "_" and n[-2:] != "__" for n in inner):
                yield f"{path.name}:{node.lineno} {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and str(node.value).startswith(("torch._", "_global_")):
            yield f"{path.name}:{node.lineno} {node.value}"


def test_no_other_file_names_one():
    files = [p for p in (ROOT / "surgeon").rglob("*.py") if p.name != "torch_private.py"]
    assert len(files) > 300
    assert not [name for path in files for name in _private(path)]


def test_each_is_there():
    from surgeon import torch_private

    for node in ast.walk(ast.parse(Path(torch_private.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                assert hasattr(torch_private, alias.asname or alias.name)
    assert torch_private.ConvNd.__subclasses__() and torch_private.BatchNorm.__subclasses__()
    assert torch_private.dispatch_modes() == 0 and not torch_private.transforms_are_active()
