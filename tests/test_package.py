"""The built wheel: it has its recipes, and nothing at the top but surgeon."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_its_recipes_and_one_top_level_package(tmp_path):
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("fx_surgeon-*.whl")
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    top = {p.name for p in target.iterdir() if not p.name.endswith(".dist-info") and p.name != "bin"}
    assert top == {"surgeon"}
    assert (target / "surgeon" / "py.typed").is_file()
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "surgeon").rglob("*.py")}
    assert modules <= {p.relative_to(target).as_posix() for p in target.rglob("*.py")}
    recipes = {p.stem for p in (ROOT / "recipes").glob("*.yaml")}
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import surgeon, surgeon.recipe as r, pathlib\n"
        f"assert pathlib.Path(surgeon.__file__).is_relative_to({str(target)!r}), surgeon.__file__\n"
        f"assert r.recipe_folder() == pathlib.Path({str(target / 'surgeon' / 'recipes')!r})\n"
        f"assert {{r.load_recipe(n).name for n in r.shipped()}} == {recipes!r}\n"
        "from surgeon.methods import names; assert 'kap' in names()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_no_submodule_is_named_like_a_public_function():
    import surgeon

    modules = {p.stem for p in (ROOT / "surgeon").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert not modules & set(surgeon.__all__)
    for name in surgeon.__all__:
        first, second = getattr(surgeon, name), getattr(surgeon, name)
        assert first is second
