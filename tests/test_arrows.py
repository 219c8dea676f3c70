"""Every import of surgeon's own files points downward: from a room of higher rank to one of the same or lower
rank, in no circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RANKS = (
    ("errors", "lazy", "torch_private", "warned", "conditions"),
    ("namesake",),
    # text and numbers from outside, and how they are written
    ("settings_faults", "numerals"),
    ("strict",),
    (
        "strict_yaml",
        "reading",
        "markdown",
        "merging",
        "quantities",
        "arguments",
        "spelling",
        "said",
        "html",
    ),
    # what surgery is, as data
    ("selection",),
    ("effects",),
    ("execution",),
    ("edits",),
    ("plans_made",),
    # torch's state, and what is true of any tensor
    ("tree", "wrappers"),
    ("host", "values", "extra_state", "kept_modes"),
    # files, and the processes that share a work
    ("disk", "interrupts", "processes"),
    ("progress", "machine", "ownership"),
    # what an evaluation found, as data
    ("l1_ball",),
    ("results",),
    # tensors and graphs: strangers to each other
    ("tensors", "graph", "ball"),
    ("methods",),
    ("recipe",),
    ("face", "scaffold", "protocol"),
    ("images",),
    ("zoo",),
    ("models",),
    ("surgery",),
    ("verification",),
    ("testing", "store"),
    ("data",),
    # strangers to each other
    ("training", "insight"),
    ("evaluation",),
    ("report",),
    ("publishing",),
    ("pipeline",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
"""Rooms from the lowest rank to the highest. Rooms of one rank do not import each other."""
GRAPH = ("trees", "places", "measuring", "changes", "tracing", "rewritten", "comparing", "sites")
"""The rooms of graph/, from the lowest rank to the highest. For types alone a file may name a class of a higher one."""
NO_TORCH = (
    "errors",
    "lazy",
    "namesake",
    "settings_faults",
    "conditions",
    "strict",
    "strict_yaml",
    "reading",
    "markdown",
    "merging",
    "numerals",
    "quantities",
    "arguments",
    "selection",
    "effects",
    "execution",
    "edits",
    "plans_made",
    "spelling",
    "said",
    "recipe",
    "protocol",
    "face",
    "scaffold",
    "html",
    "results",
    "report",
    "methods.answers",
    "methods.base",
    "methods.registry",
)
"""Rooms that can be imported where there is no torch: they name it for types alone."""


def modules():
    found = {}
    for path in (ROOT / "surgeon").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path, known, *, types):
    """The modules of surgeon that a file imports, at its top or inside a function; with `types`, also for
    types alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not types
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                if alias.name == "__version__":
                    continue
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def arrows():
    known = modules()
    return {
        name: {i for i in imports(path, known, types=False) if i in known and i != name}
        for name, path in known.items()
    }


def by_name(path, known):
    """The modules of surgeon that a file names in text, as the tables of names that load on first use do."""
    tree = ast.parse(path.read_text())
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    starts = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value in texts
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    yield from (text.value for text in texts if text.value in known)
    for node in ast.walk(tree):  # `_HERE + "module"`
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Name) and node.right in texts:
            yield starts.get(node.left.id, "") + node.right.value


def room(name):
    return name.split(".")[1] if "." in name else ""


def test_every_room_has_a_rank():
    ranked = [name for rank in RANKS for name in rank]
    there = {
        p.stem for p in (ROOT / "surgeon").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    assert sorted(ranked) == sorted(there - {"__init__"})


@pytest.mark.parametrize("kind", ["imports", "for types too", "by name"])
def test_imports_point_downward(kind):
    known = modules()
    read = {
        "imports": lambda path: imports(path, known, types=False),
        "for types too": lambda path: imports(path, known, types=True),
        "by name": lambda path: by_name(path, known),
    }[kind]
    arrows = {name: {i for i in read(path) if i in known and i != name} for name, path in known.items()}
    assert sum(map(len, arrows.values())) > 50
    rank = {name: number for number, names in enumerate(RANKS) for name in names}
    wrong = [
        f"{one} imports {other}"
        for one, others in arrows.items()
        for other in others
        if one != "surgeon"
        and other != "surgeon"
        and room(one) != room(other)
        and rank[room(one)] <= rank[room(other)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_rooms_of_graph_point_downward(arrows):
    inner = {name: name.split(".")[2] for name in arrows if name.startswith("surgeon.graph.")}
    assert set(inner.values()) == set(GRAPH)
    wrong = [
        f"{one} imports {other}"
        for one, room_of_one in inner.items()
        for other in arrows[one]
        if other in inner and GRAPH.index(room_of_one) < GRAPH.index(inner[other])
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_package_itself_is_imported_by_commands_alone(arrows):
    wrong = [
        one
        for one, others in arrows.items()
        if "surgeon" in others and room(one) not in ("cli", "demo", "__main__")
    ]
    assert not wrong, wrong


def test_no_circle_between_files(arrows):
    done, path = set(), []

    def visit(name):
        if name in path:
            raise AssertionError(" → ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in sorted(arrows[name] - {"surgeon"}):
            visit(other)
        done.add(path.pop())

    for name in sorted(arrows):
        visit(name)


def test_mathematics_knows_torch_alone(arrows):
    """A method's files know tensors, errors and their own room; only its operation and its paper know
    data. None knows a graph."""
    for name, others in arrows.items():
        parts = name.split(".")
        if parts[1:2] != ["methods"] or len(parts) < 4 or parts[2] == "controls":
            continue
        allowed = {"surgeon.errors", "surgeon.lazy", "surgeon.torch_private"}
        data = parts[3] in ("operation", "paper")
        if parts[3] == "module":  # the door of all methods has what a layer derives from
            allowed.add("surgeon.methods")
        wrong = {
            o
            for o in others
            if o not in allowed
            and not o.startswith(("surgeon.tensors", f"surgeon.methods.{parts[2]}"))
            and not (
                data
                and room(o) in ("edits", "effects", "selection", "quantities", "strict", "methods", "results")
            )
        }
        assert not wrong, (name, wrong)
    for name, others in arrows.items():
        if room(name) in ("methods", "tensors"):
            assert not {o for o in others if room(o) in ("graph", "surgery")}, name


def test_data_is_read_without_torch():
    for name, path in modules().items():
        if not any(name == f"surgeon.{r}" or name.startswith(f"surgeon.{r}.") for r in NO_TORCH):
            continue
        top = ast.parse(path.read_text()).body
        named = [n for n in top if isinstance(n, (ast.Import, ast.ImportFrom))]
        loaded = {a.name for n in named if isinstance(n, ast.Import) for a in n.names} | {
            n.module for n in named if isinstance(n, ast.ImportFrom)
        }
        assert not {m for m in loaded if m and m.split(".")[0] in ("torch", "timm", "torchvision")}, name


def test_a_method_is_named_in_its_room_alone():
    """No room but the methods' own asks which method it is: none imports a method's modules, but for one method's
    step of training and one's picture."""
    allowed = {
        "surgeon.training.two_rounds": "surgeon.methods.adversarial_noise.",
        "surgeon.insight.kernels": "surgeon.methods.kap.",
    }
    known = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in known.items()
        if room(name) != "methods"
        for other in imports(path, known, types=True)
        if other.startswith("surgeon.methods.")
        and other.count(".") > 2
        and not other.startswith(allowed.get(name, "-"))
    ]
    assert not wrong, "\n".join(wrong)
