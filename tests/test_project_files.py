"""The files that a project is joined by agree with each other."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import surgeon

ROOT = Path(__file__).parents[1]
_SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, BUILT = _SETTINGS["project"], _SETTINGS["tool"]["hatch"]["build"]["targets"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(*parts):
    return YAML(typ="safe").load((ROOT / Path(*parts)).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_licence():
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == surgeon.__version__
    assert citation["license"] == PROJECT["license"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in PROJECT["authors"]]


def test_the_author_is_the_notices():
    assert PROJECT["authors"][0]["name"] in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_what_is_told_to_be_installed_is_the_distribution_and_has_the_extra():
    extras, told = PROJECT["optional-dependencies"], []
    places = [ROOT / "README.md", ROOT / "docs/index.md", ROOT / "Dockerfile"]
    alike = [re.findall(r"\[([\w,]+)\]['\"]", p.read_text(encoding="utf-8")) for p in places]
    assert all("train,report,export" in found for found in alike)
    assert {"train", "report", "export"} <= extras.keys()
    for path in [ROOT / "README.md", *(ROOT / "surgeon").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]:
        for name, extra in re.findall(r"['\"]([\w-]*surgeon)\[([\w,]+)\]", path.read_text(encoding="utf-8")):
            told.append((path.name, name))
            assert name == PROJECT["name"], path
            assert set(extra.split(",")) <= extras.keys(), path
    assert len(told) > 5


def test_the_source_distribution_has_what_its_tests_import_and_what_runs_them():
    there = {p.name for p in ROOT.iterdir() if p.is_dir()}
    texts = [p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("*.py")]
    imported = {name for t in texts for name in re.findall(r"^ *(?:from|import) (\w+)", t, re.M)} & there
    assert {"surgeon", "experiments"} <= imported
    assert imported | {"Makefile", ".ci"} <= set(BUILT["sdist"]["include"])


def test_continuous_integration_is_one_script():
    jobs = read(".github", "workflows", "ci.yml")["jobs"]
    assert jobs["oldest"]["steps"][-1]["run"] == "make oldest"
    job = jobs["run"]
    assert [s["run"] for s in job["steps"] if "run" in s] == [".ci/run"]


def test_publishing_needs_no_token():
    jobs = read(".github", "workflows", "release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", [p for p in FORMS if p.stem != "config"], ids=lambda p: p.stem)
def test_a_form_of_an_issue_has_what_github_asks_for(form):
    content = read(form)
    assert {"name", "description", "body"} <= content.keys()
    ids = [item["id"] for item in content["body"]]
    assert len(ids) == len(set(ids)) and all(item["attributes"]["label"] for item in content["body"])


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_outside_of_the_site_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#:]+)", text) if not link.startswith("#")]
    assert not [link for link in links if not (ROOT / link).exists()]
    named = re.findall(r"`((?:docs|tests|surgeon|\.github)/[\w./]+\.\w+)`", text)
    assert not [path for path in named if not (ROOT / path).exists()]
    assert links or named


@pytest.mark.parametrize("folder", ["surgeon", "tests", "experiments", "benchmarks", "examples", "docs"])
def test_no_file_is_longer_than_400_lines(folder):
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert lines, folder
    assert not {str(p.relative_to(ROOT)): n for p, n in lines.items() if n > 400}


def test_no_line_of_code_is_longer_than_120_columns_or_kept_from_the_formatter():
    """ruff lets lines pass whose end is a comment for a tool."""
    skip = "# fmt: " + "skip"
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("surgeon", "tests", "benchmarks", "experiments", "docs", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120 or skip in line or skip.replace("skip", "off") in line
    ]
    assert not long, long


@pytest.mark.parametrize("folder", ["surgeon", "benchmarks", "examples", "experiments", "docs"])
def test_no_variable_is_called_by_a_word_that_fits_all(folder):
    """What was found, told or there before: a name says what it is. Fields of records are read in files by theirs."""
    names, used = {"found", "told", "ones", "was", "home"}, []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        fields = {
            id(line.target) for node in classes for line in node.body if isinstance(line, ast.AnnAssign)
        }
        used += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names)
            and id(node) not in fields
            or (isinstance(node, ast.arg) and node.arg in names)
        ]
    assert not used, used


NONE_AS_A_NOUN = re.compile(r"\b(?:is none of|(?:is|are|was|were) none\b(?! %})|for none\b|has none of)")
"""As in "is none of the network's", "those that are none", "'' for none"; Python's None has a capital letter."""


@pytest.mark.parametrize("folder", ["surgeon", "benchmarks", "examples", "experiments", "docs"])
def test_none_is_not_a_noun(folder):
    """Whatever is missing is named: a sentence with a bare none has to be read twice."""
    used = []
    for path in sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".md", ".j2", ".ipynb")):
        text = re.sub(r"\s+(?:# )?", " ", path.read_text(encoding="utf-8"))
        used += [f"{path.relative_to(ROOT)}: {m[0]}" for m in NONE_AS_A_NOUN.finditer(text)]
    assert not used, used


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("a folder that is none of surgeon's", True),
        ("the networks that are none", True),
        ("the name; '' for none", True),
        ("x is None", False),
        ("the model has none", False),
        ("none of the sites fits", False),
        ("{% if value is none %}", False),
    ],
)
def test_none_as_a_noun_is_told_from_the_pronoun(text, noun):
    assert bool(NONE_AS_A_NOUN.search(text)) is noun
