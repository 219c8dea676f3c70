"""A recipe as YAML, and the JSON schema of recipe files."""

from __future__ import annotations

from typing import Any

from surgeon import strict_yaml
from surgeon.methods.registry import get, names
from surgeon.recipe.recipe import Recipe


def dump(recipe: Recipe) -> str:
    """Write a recipe as YAML, which `load_recipe` reads back.

    Args:
        recipe: The recipe.

    Returns:
        The YAML text, without settings that have their defaults.
    """
    return strict_yaml.dump(with_names(recipe, recipe.model_dump(mode="json", exclude_defaults=True)))


def with_names(recipe: Recipe, content: dict[str, Any]) -> dict[str, Any]:
    """Add the key `op` to each operation, which dumps without defaults leave out."""
    named = zip(content["surgery"], recipe.surgery, strict=True)
    content["surgery"] = [{"op": operation.name} | item for item, operation in named]
    return content


def schema() -> dict[str, Any]:
    """Return the JSON schema of recipe files, with every registered operation.

    Returns:
        The schema, draft 2020-12.
    """
    root = Recipe.model_json_schema()
    definitions = root.setdefault("$defs", {})
    definitions.pop("Operation", None)
    options = []
    for name in names():
        one = get(name).model_json_schema()
        definitions.update(one.pop("$defs", {}))
        one["required"] = sorted({*one.get("required", []), "op"})
        definitions[name] = one
        options.append({"$ref": f"#/$defs/{name}"})
    root["properties"]["surgery"]["items"] = {"oneOf": options}
    root["properties"]["extends"] = {
        "type": "string",
        "description": "a shipped recipe, or a file beside this one",
    }
    root.pop("required", None)  # a file is named after itself, and takes its surgery from what it extends
    root["anyOf"] = [{"required": ["surgery"]}, {"required": ["extends"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}
