"""Recipes of other packages: found by an entry point, by name, with nothing of the package imported."""

import json
import os
import subprocess
import sys

import pytest

import surgeon
from surgeon.errors import RecipeError
from surgeon.publishing.card import _papers
from surgeon.recipe import available, load_recipe, plugged, shipped

SOFT = "title: Soft averages\npaper: Someone, arXiv 2601.00001\nextends: kap\nsurgery: [{op: kap, sigma: 0.05}]\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path that packages are installed into."""
    monkeypatch.syspath_prepend(tmp_path)
    plugged._points.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    plugged._points.cache_clear()


def install(site, package, files, dotted=None, inner="recipes"):
    """A package whose import is an error, with recipes in a folder."""
    info, folder = site / f"{package}-1.0.dist-info", site / package / inner
    info.mkdir(), folder.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[surgeon.recipes]\n{package} = {dotted or f'{package}.recipes'}\n"
    )
    (site / package / "__init__.py").write_text("raise SystemExit('it was imported')\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def surgeon_in(site, *args, **asked):
    code = "from surgeon.cli import main; main()"
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": path, **asked},
        capture_output=True,
        text=True,
        check=False,
    )


def test_recipes_of_a_package_come_by_name_after_the_shipped_ones(site):
    install(
        site, "soft", {"soft.yaml": SOFT, "a-first.yml": "extends: soft\ntitle: More\n", "notes.txt": "no"}
    )
    assert available() == (*shipped(), "a-first", "soft")
    assert list(surgeon.recipes()) == [*shipped(), "a-first", "soft"]
    assert surgeon.recipes()["soft"] == "Soft averages"
    assert load_recipe("soft").surgery[0].sigma == load_recipe("a-first").surgery[0].sigma == 0.05
    assert load_recipe("SOFT", ["kap.kernel_size=5"]).surgery[0].kernel_size == 5
    assert load_recipe({"extends": "soft"}).title == "Soft averages"
    assert "soft" not in sys.modules
    with pytest.raises(RecipeError, match="unknown recipe 'sotf'; did you mean 'soft'"):
        load_recipe("sotf")
    assert _papers("soft") == ["Someone, arXiv 2601.00001"]


def test_what_macos_leaves_beside_a_file_is_no_recipe(site):
    install(site, "soft", {"soft.yaml": SOFT, "._soft.yaml": "\0"})
    assert available()[len(shipped()) :] == ("soft",)


def test_a_folder_deeper_inside_and_one_of_a_package_without_init(site):
    install(site, "deep", {"deep.yaml": SOFT}, "deep.data.recipes", "data/recipes")
    install(site, "bare", {"bare.yaml": SOFT})
    (site / "bare" / "__init__.py").unlink()
    plugged._points.cache_clear()
    assert available()[len(shipped()) :] == ("bare", "deep")


def test_a_name_that_is_shipped_is_an_error_that_names_both_and_no_other_name_suffers(site):
    folder = install(site, "soft", {"KAP.yaml": SOFT, "soft.yaml": "extends: noise\n"})
    own = str(surgeon.recipe.recipe_folder() / "kap.yaml")
    for name in ("kap", "KAP"):
        with pytest.raises(RecipeError) as caught:
            load_recipe(name)
        assert f"is in surgeon ({own}) and soft ({folder / 'KAP.yaml'})" in str(caught.value)
    with pytest.raises(RecipeError, match="the recipe 'kap' is in surgeon"):
        surgeon.recipes()
    assert load_recipe("soft").name == "soft" and load_recipe("noise").name == "noise"


def test_one_name_in_two_packages_is_an_error_that_names_both(site):
    install(site, "soft", {"soft_one.yaml": SOFT})
    install(site, "other", {"soft-one.yaml": SOFT})
    with pytest.raises(RecipeError, match=r"'soft-one' is in other \(.*\) and soft \(.*\); rename one"):
        load_recipe("soft-one")
    done = surgeon_in(site, "recipes", "list")
    assert done.returncode == 2 and "is in other (" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "dotted", ["soft.recipe", "sotf.recipes", "soft.recipes:ALL", "soft.", "json.recipes"]
)
def test_a_folder_that_is_missing_is_said_where_recipes_are_listed_or_not_found(site, dotted):
    install(site, "soft", {"soft.yaml": SOFT}, dotted)
    for ask in (surgeon.recipes, lambda: load_recipe("soft")):
        with pytest.raises(RecipeError, match=f"of the package soft names '{dotted}', and no such folder"):
            ask()
    assert load_recipe("kap").name == "kap" and available() == shipped()


def test_a_loaded_module_without_a_spec_is_passed_over(site, monkeypatch):
    install(site, "soft", {"soft.yaml": SOFT})
    monkeypatch.setitem(sys.modules, "soft", type(sys)("soft"))
    assert sys.modules["soft"].__spec__ is None and available() == shipped()


def test_the_command_line_lists_shows_and_completes_them(site):
    install(site, "soft", {"soft.yaml": SOFT, "sorry.yaml": "surgery: 3\n"})
    said = surgeon_in(
        site, _SURGEON_COMPLETE="bash_complete", COMP_WORDS="surgeon plan kap+so", COMP_CWORD="2"
    )
    known = [*(name for name in shipped() if name.startswith("so")), "soft", "sorry"]
    assert said.stdout.split() == [f"plain,kap+{name}" for name in known] and not said.stderr
    assert "sigma: 0.05" in surgeon_in(site, "recipes", "show", "soft").stdout
    done = surgeon_in(site, "recipes", "list", "--json")
    listed = {r["name"]: r for r in json.loads(done.stdout)}
    assert done.returncode == 0 and list(listed) == [*shipped(), "soft", "sorry"]
    assert "of the package soft, cannot be used: " in listed["sorry"]["error"]
    assert "sorry.yaml" in listed["sorry"]["error"] and "error" not in listed["soft"]
    (site / "soft" / "recipes" / "sorry.yaml").unlink()
    done = surgeon_in(site, "recipes", "list", "--json")
    assert [r["name"] for r in json.loads(done.stdout)] == [*shipped(), "soft"], done.stderr
    assert json.loads(done.stdout)[-1]["title"] == "Soft averages"
