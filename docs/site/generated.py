"""Pages that are written from the code when the site is built: the reference, the recipes, the commands, the rooms, and
methods without a page of their own."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import kept_table  # noqa: E402  (a hook is a file, not a module of a package)
import method_pages  # noqa: E402
import public  # noqa: E402


def on_files(files: Any, config: Any) -> Any:
    """Add the pages, and those of the reference to the navigation."""
    pages = {
        "recipes.md": recipes(),
        "commands.md": commands(),
        "rooms.md": rooms(),
        "reference/index.md": index(),
        **method_pages.missing(),
    }
    first = shown_at()
    for package in public.DOCUMENTED:
        pages[place(package)] = reference(package, first)
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    _open(config, "Reference", "reference", map(place, public.DOCUMENTED))
    _open(config, "Methods", "methods", map(method_pages.path, public.ROOMS))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The overview of the methods has each of them."""
    if page.file.src_uri != "methods/index.md":
        return markdown
    return kept_table.with_table(method_pages.with_rows(markdown))


def _open(config: Any, section: str, folder: str, pages: Iterable[str]) -> None:
    """Add pages to a section of the navigation, behind those of their folder that it names."""
    entries = next(s[section] for s in config.nav if isinstance(s, dict) and section in s)
    behind = 1 + max(i for i, entry in enumerate(entries) if str(entry).startswith(f"{folder}/"))
    entries[behind:behind] = [page for page in pages if page not in entries]


def place(package: str) -> str:
    """Where a package's page lies."""
    return f"reference/{package}.md"


def index() -> str:
    """All public names, by package."""
    lines = ["# Reference", "", "Every public name, by the package that it is imported from.", ""]
    for package in public.DOCUMENTED:
        said = (importlib.import_module(package).__doc__ or "").strip().splitlines()[0]
        lines += [f"## [{package}]({package}.md)", "", said, ""]
        lines += [", ".join(f"[`{n}`]({package}.md#{package}.{n})" for n in public.names(package)), ""]
    return "\n".join(lines)


def shown_at() -> dict[str, tuple[str, str]]:
    """Where each object is told: on the page of the first package that has it. Other packages point there."""
    first: dict[str, tuple[str, str]] = {}
    for package in public.DOCUMENTED:
        for name in public.names(package):
            first.setdefault(public.origin_of(package, name), (package, name))
    return first


def reference(package: str, first: dict[str, tuple[str, str]]) -> str:
    """A package's page: what it says of itself, and every public name."""
    quiet = "{members: false, show_root_heading: false, show_root_toc_entry: false}"
    lines = [f"# {package}", "", f"::: {package}", f"    options: {quiet}", ""]
    for name in public.names(package):
        origin = public.origin_of(package, name)
        at, called = first[origin]
        if (at, called) != (package, name):
            lines += [
                f"## {name} {{#{package}.{name}}}",
                "",
                f"Is [{at}.{called}]({at}.md#{at}.{called}).",
                "",
            ]
            continue
        if origin != f"{package}.{name}":
            lines += [f'<a id="{package}.{name}"></a>', ""]
        lines += [
            f"::: {origin}",
            f"    options: {{heading: {name}, heading_level: 2, toc_label: {name}}}",
            "",
        ]
    return "\n".join(lines)


def recipes() -> str:
    """Every shipped recipe: its title, its paper, and its file."""
    from surgeon.recipe import load_recipe, recipe_folder, shipped

    lines = [
        "# Recipes",
        "",
        "A recipe is data: which operations, with which settings, and where it has them the "
        "training and the evaluation that go with it. "
        "`surgeon recipes show NAME` prints one, `--set PART.KEY=VALUE` changes a setting, "
        "`+` joins several; a file of your own is "
        "named by its path.",
        "",
        "| recipe | what | operations |",
        "|---|---|---|",
    ]
    loaded = {name: load_recipe(name) for name in shipped()}
    for name, recipe in loaded.items():
        operations = ", ".join(f"`{o.name}`" for o in recipe.surgery) or "none: training alone"
        lines.append(f"| [`{name}`](#{name}) | {recipe.title} | {operations} |")
    for name, recipe in loaded.items():
        text = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").rstrip()
        lines += [
            "",
            f"## {name}",
            "",
            recipe.title,
            "",
            *([recipe.paper, ""] if recipe.paper else []),
            "```yaml",
            text,
            "```",
        ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its help, as the terminal shows it."""
    import click

    from surgeon.cli import COMMANDS, group

    lines = ["# Commands", "", "What `surgeon COMMAND --help` prints.", ""]
    top = click.Context(group, info_name="surgeon", max_content_width=88, terminal_width=88)
    for name in COMMANDS:
        command = group.get_command(top, name)
        assert command is not None
        lines += [f"## surgeon {name}", "", *helped(command, top, name)]
        if isinstance(command, click.Group):
            above = click.Context(command, info_name=name, parent=top)
            for inner in command.list_commands(above):
                subcommand = command.get_command(above, inner)
                assert subcommand is not None
                lines += [f"### surgeon {name} {inner}", "", *helped(subcommand, above, inner)]
    return "\n".join(lines)


def helped(command: Any, parent: Any, name: str) -> list[str]:
    """A command's help as a block."""
    import click

    context = click.Context(command, info_name=name, parent=parent, max_content_width=88, terminal_width=88)
    return ["```text", command.get_help(context), "```", ""]


def rooms() -> str:
    """Every file of the package with the first sentence of its docstring."""
    lines = ["# Every room", "", "Each file holds one idea; this is what it says of itself.", ""]
    package = ROOT / "surgeon"
    folders = [package, *sorted(p.parent for p in package.rglob("__init__.py") if p.parent != package)]
    for folder in folders:
        lines += [f"## {folder.relative_to(ROOT).as_posix()}/", "", "| file | |", "|---|---|"]
        for file in sorted(folder.glob("*.py")):
            said = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
            cell = " ".join(said.split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
            lines.append(f"| `{file.name}` | {cell} |")
        lines.append("")
    return "\n".join(lines)
