"""Random changes to plain data and to text, from a seed: what a careless or a hostile hand would do."""

import copy
import json
import math
import random

NASTY = [
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    1.5,
    1e308,
    -1e-9,
    10**6,
    10**9,
    2**31,
    2**63,
    10**30,
    math.nan,
    math.inf,
    "",
    "x",
    "../x",
    "/etc/passwd",
    "hf-hub:a/b",
    "<b>",
    "a\nb",
    "\x1b[1m",
    "conv1",
    "kap",
    "resnet18",
    "torchvision/resnet18",
    "zoo/cnn",
    "auto",
    "x" * 20_000,
    [],
    {},
    [[]],
    [0],
    [-1, 5],
    [10**6, 10**6],
    [1, 2, 3, 4, 5],
    {"a": 1},
    {"op": "kap"},
    ["x"],
    [None],
    {"": ""},
]


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def ways(value, path=()):
    """All paths into plain data."""
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from ways(inner, (*path, key))


def mutated(content, draw: random.Random):
    """A copy with one to three changes: a value, a key or a part of a list is another, is gone, is there
    twice or is elsewhere."""
    content = copy.deepcopy(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        way = draw.choice([w for w in ways(content) if w] or [()])
        if not way:
            return content
        at = content
        for step in way[:-1]:
            at = at[step]
        last, kind = way[-1], draw.randrange(8)
        if kind == 0:
            del at[last]
        elif kind == 1 and isinstance(at, dict):
            at[draw.choice(["weights", "x", "", "a\nb", "file", "op", "pretrained"])] = at.pop(last)
        elif kind == 2 and isinstance(at, list):
            at.insert(draw.randrange(len(at) + 1), copy.deepcopy(at[last]))
        elif kind == 3:
            at[last] = [at[last]]
        elif kind == 4 and isinstance(at[last], (int, float)):
            at[last] = draw.choice([at[last] + 1, -at[last], at[last] * 1000, at[last] * 0.5, str(at[last])])
        elif kind == 5:
            other = content
            for step in draw.choice(list(ways(content))):
                other = other[step]
            at[last] = copy.deepcopy(other)
        elif kind == 6 and draw.random() < 0.1:
            at[last] = nested(draw.choice([20, 150, 250]))
        else:
            at[last] = copy.deepcopy(draw.choice(NASTY))
    return content


def scrambled(text, draw: random.Random):
    """A text in which some characters are others, are gone, or are there again elsewhere."""
    for _ in range(draw.randrange(1, 6)):
        place, length = draw.randrange(len(text) + 1), draw.randrange(1, 20)
        piece = draw.choice(
            [
                "",
                text[draw.randrange(len(text) or 1) :][:length],
                draw.choice("{}[]:,&*!|>%@`'\"#-?~\t\n\x00 0y"),
                "yes",
                "1:30",
                "&a [*a]",
                "- " * 50,
            ]
        )
        text = text[:place] + piece + text[place + draw.choice([0, length]) :]
    return text


def written(content):
    """JSON of it; nested too deep for the writer, it is written by hand."""
    try:
        return json.dumps(content)
    except RecursionError:
        return "[" * 5000
