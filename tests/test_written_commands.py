"""Every command that a page shows is one that the command line takes, every recipe one that is valid: they are read,
not run. tests/test_readme.py runs commands that need nothing but the package."""

import re
import shlex
from pathlib import Path

import click
import pytest

from surgeon.cli import COMMANDS, group
from surgeon.errors import RecipeError
from surgeon.recipe import load_recipe

ROOT = Path(__file__).parents[1]
YAML = r"^```yaml\n(.*?)^```"
PAGES = [Path("README.md"), *sorted(p.relative_to(ROOT) for p in (ROOT / "docs").rglob("*.md"))]


def command_named(name):
    with click.Context(group) as context:
        return group.get_command(context, name)


def in_blocks(text):
    """The lines of `sh` and `text` blocks that call surgeon, with their continuations in one."""
    for block in re.findall(r"^```(?:sh|text)\n(.*?)^```", text, re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"surgeon [a-z-]+( |$)", line):
                yield line


def in_sentences(text):
    """`surgeon …` between backticks, of which the options count: their values may be placeholders."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.findall(r"`(surgeon [a-z-]+(?: [^`]*)?)`", plain)


def refused(line):
    """Why the command line would not take a line; None where it does."""
    name, *arguments = shlex.split(line, comments=True)[1:]
    if name not in COMMANDS:
        return f"there is no command {name}"
    try:
        leaf = command_named(name)
        with leaf.make_context(name, arguments):
            return None
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        return error.format_message()


def unknown_options(line):
    """Options of a line that its command does not have."""
    name, *arguments = line.split()[1:]
    leaf = command_named(name)
    if isinstance(leaf, click.Group) and arguments and arguments[0] in leaf.commands:
        leaf = leaf.commands[arguments[0]]
    known = {o for p in leaf.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}
    return [a for a in re.findall(r"(?<= )--?[a-z][a-z-]*", " ".join(["", *arguments])) if a not in known]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_command_line_takes_what_a_page_shows(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    found = {line: why for line in in_blocks(text) if (why := refused(line))}
    assert not found
    named = [line for line in in_sentences(text) if line.split()[1] in COMMANDS]
    wrong = {line: options for line in named if (options := unknown_options(line))}
    assert not wrong


def test_the_recipe_that_is_shown_is_valid(tmp_path):
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (shown,) = re.findall(YAML, text, re.S | re.M)
    (tmp_path / "mine.yaml").write_text(shown, encoding="utf-8")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert [(o.name, o.kernel_size, o.select.stages) for o in recipe.surgery] == [("kap", 5, (3, 4))]
    inherited = load_recipe("at-pgd").training.adversary
    assert recipe.training.epochs == 30 and recipe.evaluation.suite == "standard"
    assert (recipe.training.adversary.steps, recipe.training.adversary.eps) == (inherited.steps, 4 / 255)


def test_the_recipe_of_ones_own_operation_lacks_the_operation_alone(tmp_path):
    (shown,) = re.findall(YAML, (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.S | re.M)
    (tmp_path / "clipping.yaml").write_text(shown, encoding="utf-8")
    with pytest.raises(RecipeError, match="unknown operation 'clipping'"):
        load_recipe(tmp_path / "clipping.yaml")
    (tmp_path / "kwta.yaml").write_text(shown.replace("clipping", "kwta").replace("limit: 3.0", "share: 0.3"))
    assert [o.name for o in load_recipe(tmp_path / "kwta.yaml").surgery] == ["kwta"]


def test_commands_are_found_in_blocks_and_in_sentences():
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(list(in_blocks(text))) for text in pages) > 50
    assert sum(len(in_sentences(text)) for text in pages) > 20
    (line,) = in_blocks("```sh\nsurgeon fold a \\\n  -o b\nmake docs\n```\n")
    assert line.split() == ["surgeon", "fold", "a", "-o", "b"]


def test_a_wrong_line_would_be_told():
    assert "No such option" in refused("surgeon evaluate runs/x --suit quick -o runs/y")
    assert "is not" in refused("surgeon evaluate runs/x --suite quik -o runs/y")
    assert refused("surgeon nothing") == "there is no command nothing"
    assert unknown_options("surgeon recipes show kap --no-such X") == ["--no-such"]
