"""The skeleton of an operation: it builds into a wheel, which makes the operation and its recipe known, and its own
tests pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from surgeon.cli import group, main
from surgeon.errors import ArgumentError, WritingError
from surgeon.scaffold import new_operation

ROOT = Path(__file__).parents[1]
USE = """
import sys; sys.path.insert(0, {site!r})
import surgeon, torch
assert "my-op" in surgeon.operations() and "my-op" in surgeon.recipes()
model = surgeon.create_model("zoo/shallow1")
images = torch.rand(32, 3, 32, 32)
cut = surgeon.apply(model, "my-op" if {by_name} else {{"op": "my-op"}}, calibration=images, input_size=(3, 32, 32))
layer = cut.get_submodule(cut.surgery.edits[0].layer)
assert bool(layer.deviation.isfinite().all())
print("ok")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skeleton") / "my-op"
    new_operation("my-op", folder)
    return folder


def test_its_own_tests_pass(written):
    where = str(written)
    code = f"import sys; sys.path.insert(0, {where!r}); import pytest; "
    code += f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {where!r}]))"
    entry = written / "my_op-0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: my_op\nVersion: 0\n")
    (entry / "entry_points.txt").write_text("[surgeon.operations]\nmy-op = my_op:MyOpOperation\n")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=written
    )
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout[-2000:] + done.stderr[-1000:]


def test_its_wheel_makes_the_operation_known(written, tmp_path):
    pytest.importorskip("hatchling")
    build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], capture_output=True, text=True, check=False, cwd=written
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(wheel)], check=True, cwd=tmp_path)
    assert (site / "my_op" / "recipes" / "my-op.yaml").is_file()
    code = USE.format(site=str(site), by_name=True)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "ok", done.stderr[-2000:]
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from surgeon.cli import main; "
    code += "sys.exit(main(['recipes', 'list', '--json']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert '"my-op"' in done.stdout, done.stdout[:1000] + done.stderr[-1000:]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of this checkout: the package, and of the rest what a room's tests need."""
    there = tmp_path_factory.mktemp("checkout")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "surgeon", there / "surgeon", ignore=skipped)
    shutil.copytree(ROOT / "recipes", there / "recipes")
    for folder in ("reference", "methods"):
        (there / "tests" / folder).mkdir(parents=True)
        shutil.copy(ROOT / "tests" / folder / "__init__.py", there / "tests" / folder)
    held = ("__init__.py", "conftest.py", "slow.txt", "test_arrows.py")
    for file in (*(f"tests/{name}" for name in held), "pyproject.toml"):
        if (ROOT / file).is_file():
            shutil.copy(ROOT / file, there / file)
    return there


def test_a_room_in_a_checkout_passes_its_own_tests_and_the_rules_of_the_house(checkout):
    done = CliRunner().invoke(group, ["new-operation", "my-op", "--inside", "-o", str(checkout)])
    assert done.exit_code == 0, done.output
    written = [Path(line) for line in done.output.splitlines()[:-1]]
    assert {p.relative_to(checkout).as_posix() for p in written} == {
        *(f"surgeon/methods/my_op/{n}.py" for n in ("__init__", "maths", "module", "operation")),
        "recipes/my-op.yaml",
        "tests/methods/test_my_op.py",
        "tests/reference/my_op.py",
    }
    code = f"import sys; sys.path.insert(0, {str(checkout)!r}); import doctest, pytest; "
    code += "from surgeon.methods.my_op import maths, module; "
    code += "assert not any(doctest.testmod(m).failed for m in (maths, module)); "
    code += "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', "
    code += "'tests/methods/test_my_op.py', 'tests/test_arrows.py']))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )
    assert ran.returncode == 0 and "[100%]" in ran.stdout, ran.stdout[-3000:] + ran.stderr[-1000:]
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.is_file():
        for words in (["check"], ["format", "--check"]):
            style = subprocess.run(
                [ruff, *words, *(p for p in written if p.suffix == ".py")],
                capture_output=True,
                text=True,
                check=False,
                cwd=checkout,
            )
            assert style.returncode == 0, style.stdout
    with pytest.raises(ArgumentError, match="there already|already; choose another name"):
        new_operation("my-op", checkout, inside=True)


def test_a_room_is_refused_outside_a_checkout_and_under_a_name_that_is_taken(checkout, tmp_path):
    with pytest.raises(
        ArgumentError, match="not a checkout of surgeon: it has no surgeon/methods/registry.py"
    ):
        new_operation("other-op", tmp_path, inside=True)
    for name in ("base", "registry", "answers"):
        with pytest.raises(ArgumentError, match="in surgeon/methods already"):
            new_operation(name, checkout, inside=True)
    assert not any(tmp_path.iterdir())


def test_the_operation_has_at_most_sixty_lines(written):
    assert len((written / "my_op" / "__init__.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", ["My-Op", "1op", "op_x", "class", "-op", "op-", "../x", "a b", ""])
def test_a_name_that_cannot_be_one_is_refused(name, tmp_path):
    with pytest.raises(ArgumentError, match="cannot name an operation"):
        new_operation(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_name_that_is_taken_and_a_folder_with_files_are_refused(tmp_path):
    for name in ("kap", "anl"):  # an operation, and a recipe
        with pytest.raises(ArgumentError, match=f"there is an operation or a recipe '{name}' already"):
            new_operation(name, tmp_path / "new")
    for name in ("torch", "surgeon", "json"):
        with pytest.raises(ArgumentError, match=f"there is a Python package '{name}' already"):
            new_operation(name, tmp_path / "new")
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ArgumentError, match="not an empty folder"):
        new_operation("my-op", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_name_that_the_skeleton_itself_uses_works_too(tmp_path):
    names = ("cut", "edit", "operation", "literal", "limit")
    code = "import sys, torch; from surgeon.selection import Site\n"
    code += "s = Site(name='a', kind='activation', cls='ReLU', index=0, channels=2, channel_axis=0)\n"
    for name in names:
        new_operation(name, tmp_path / f"new-{name}")
        code += f"sys.path.insert(0, {str(tmp_path / f'new-{name}')!r}); import {name}\n"
        code += f"o = {name}.{name.capitalize()}Operation(); p = o.propose([s], None)\n"
        code += f"print({name!r}, o.build(p.edits[0], None, torch.Generator()).layer)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [f"{name} Limit()" for name in names], done.stderr[-1000:]


@pytest.mark.parametrize(
    ("output", "message"), [("", "--output is empty"), ("file/below", "Not a directory")]
)
def test_a_place_that_is_none_is_one_line(output, message, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemExit) as stop:
        main(["new-operation", "my-op", "-o", str(tmp_path / output) if output else ""])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert message in err and len(err.strip().splitlines()) == 1


def test_the_command_lists_what_it_wrote(tmp_path):
    done = CliRunner().invoke(group, ["new-operation", "other-op", "-o", str(tmp_path / "o")])
    assert done.exit_code == 0 and "pyproject.toml" in done.output and "pip install -e" in done.output


def test_a_place_where_nothing_may_be_written_is_told(tmp_path, monkeypatch):
    def refuse(*given, **more):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        WritingError, match="could not be written: Read-only file system; nothing of it was kept"
    ):
        new_operation("my-op", tmp_path / "new" / "my-op")
