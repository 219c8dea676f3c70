"""What the shell completes: recipes joined by '+', models, and the settings of the recipe that stands before them."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

_FEW = ("zoo/", "torchvision/")


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recipes, also behind a '+'; files where a path is begun."""
    from surgeon.recipe import available

    if "/" in incomplete or incomplete.startswith("."):
        return [CompletionItem(incomplete, type="file")]
    before, plus, begun = incomplete.rpartition("+")
    return [
        CompletionItem(before + plus + name, help=_title(name))
        for name in available()
        if name.startswith(begun)
    ]


def _title(name: str) -> str | None:
    """What a recipe does; None of another package's that cannot be read."""
    from surgeon.errors import RecipeError
    from surgeon.recipe import load_recipe

    try:
        return load_recipe(name).title
    except RecipeError:
        return None


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models by name, once two letters are there, as timm has over a thousand; and folders.

    Listing them imports timm, for which the shell waits some seconds.
    """
    path = Path(incomplete)
    there = (path if incomplete.endswith("/") else path.parent).is_dir() and not incomplete.startswith(_FEW)
    if "/" in incomplete and there:
        return [CompletionItem(incomplete, type="dir")]
    if len(incomplete) < 2:
        return [CompletionItem(p) for p in _FEW if p.startswith(incomplete)] + [
            CompletionItem(incomplete, type="dir")
        ]
    from surgeon.models.creating import list_models

    items = [CompletionItem(name) for name in list_models() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="dir")]


def complete_attack(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Attacks by name, with what each needs."""
    from surgeon.results.named import NAMED, needs_in_words

    return [CompletionItem(n, help=needs_in_words(n)) for n in NAMED if n.startswith(incomplete)]


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`kap.kernel_size=` of the operations of the recipe that stands before, and of the parts that the command has."""
    from surgeon.errors import RecipeError
    from surgeon.recipe import PARTS, load_recipe, owners
    from surgeon.spelling import split

    if "=" in incomplete:
        return []
    # an option that waits for its value ends click's parsing before it hands out the arguments
    first = ctx.args[:1] if any(p.name == "recipe" for p in ctx.command.params) else []
    recipe = ctx.params.get("recipe") or next(iter(first), None)
    kind = str(getattr(param, "metavar", ""))
    operations: set[str] = set()
    if recipe:
        try:
            operations = {o.name for name in split(recipe) for o in load_recipe(name).surgery}
        except RecipeError:
            return []
    known = owners(operations)
    if kind == "KEY=VALUE":  # of an evaluation alone
        keys = {f"{k}": field for k, field in known["evaluation"].model_fields.items()}
    else:
        parts = PARTS if kind.startswith("PART") else ()
        keys = {
            f"{owner}.{k}": field
            for owner, model in known.items()
            if owner in operations or owner in parts
            for k, field in model.model_fields.items()
            if k != "op"
        }
    return [
        CompletionItem(f"{k}=", help=field.description)
        for k, field in keys.items()
        if k.startswith(incomplete)
    ]
