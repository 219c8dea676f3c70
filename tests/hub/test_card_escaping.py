"""Whatever stands in a folder, its model card is text: no HTML, no link, no picture and no other structure
comes of it."""

import json

import pytest

from surgeon import markdown
from surgeon.errors import ArtifactError, SurgeonError
from surgeon.publishing import card, pushing

markdown_it = pytest.importorskip("markdown_it")
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "`</code><script>alert(1)</script>`",
    "x` <b>y</b> `z",
    "[x](http://evil.example)",
    "![x](http://evil.example/a.png)",
    "<http://evil.example>",
    "[x]: http://evil.example",
    "https://evil.example www.evil.example a@evil.example",
    "a | b | c",
    "a\\|b|",
    "a\n\n# Title\n\n- x\n\n---\n",
    "# x",
    "- x",
    "+ x",
    "1. x",
    "2) x",
    "> x",
    "=== ",
    "---",
    "*a* _b_ **c** ~~d~~ $e$",
    "&lt;b&gt; &#60;i&#62; &amp;",
    "-->",
    "<!-- x",
    "``````",
    "\\",
    "```\nx\n```",
    "\x1b[31mred \u202e back",
    "| - | - |\n| - | - |",
    "a\r\nlicense: mit\r\n",
    "'\"}]{%x%}{{x}}",
    "x" * 5000,
]


def tokens(page):
    reader = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = []
    for token in reader.parse(page):
        found += [token, *(token.children or ())]
    return found


def kinds(page):
    """The structure of a page: its marks of every kind, without text."""
    quiet = ("text", "text_special", "softbreak")
    return [(t.type, t.tag, dict(t.attrs)) for t in tokens(page) if t.type not in quiet]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("page", ["before {} after", "{}", "- {}", "| a | b |\n|---|---|\n| {} | c |\n"])
def test_text_stays_text(value, page):
    written = markdown.text(value)
    inside = [t for t in tokens(page.format(written)) if t.type in ("text", "text_special")]
    assert kinds(page.format(written)) == kinds(page.format("word"))
    assert markdown.plain(value) in "".join(t.content for t in inside).replace("\N{ZERO WIDTH SPACE}", "")
    assert not any(mark in written for mark in ("://", "www.", "<", ">"))
    assert "\n" not in written


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("page", ["before {} after", "- {}", "| a | b |\n|---|---|\n| {} | c |\n"])
def test_code_stays_code(value, page):
    assert kinds(page.format(markdown.code(value))) == kinds(page.format("`word`"))


def places(value, path=()):
    """The paths to all texts in plain data, keys of mappings too (with None behind them)."""
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if isinstance(key, str):
            yield (*path, key, None)
        yield from [(*path, key)] if isinstance(inner, str) else places(inner, (*path, key))


def changed(content, path, text):
    content = json.loads(json.dumps(content))
    at = content
    *way, last = path[:-1] if path[-1] is None else path
    for step in way:
        at = at[step]
    if path[-1] is None:
        at[text] = at.pop(last)
    else:
        at[last] = text
    return content


def test_no_field_of_a_folder_changes_what_its_card_is(folder):
    """Each text of the configuration in turn is hostile: the folder is refused, or its card keeps its structure."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    plan = content["surgery"]["plan"]
    plan["edits"], plan["passed_over"] = plan["edits"][:2], plan["passed_over"][:1]
    plan["edits"][0] |= {"folds": False, "note": "word"}
    path.write_text(json.dumps(content))
    before, shown, refused, told = kinds(card.card(folder, "someone/net")), set(), set(), []
    for where in places(content):
        for text in (HOSTILE[0], HOSTILE[3] + HOSTILE[5], HOSTILE[11]):
            path.write_text(json.dumps(changed(content, where, text)))
            try:
                page = card.card(folder, "someone/net")
            except ArtifactError as error:
                told.append(str(error))
                refused.add(where)
                continue
            if "alert" in page:
                shown.add(where)
            assert kinds(page)[: len(before) - 1] == before[:-1] or _only_less(kinds(page), before), (
                where,
                text,
            )
    assert not any("\n" in text for text in told)
    assert any(w[-1] == "note" for w in shown) and any("versions" in w for w in shown)
    assert ("architecture",) in refused and ("surgery", "plan", "recipe") in refused


def _only_less(found, before):
    """A key that nobody knows takes something away from the card, and adds nothing."""
    names = [f[0] for f in before]
    return all(kind[0] in names for kind in found) and len(found) <= len(before)


def test_the_header_is_yaml_of_known_words(folder):
    from huggingface_hub import ModelCard

    path = folder / "config.json"
    content = json.loads(path.read_text())
    for name in ("kap\n---\n# x", "kap: [x", "license: mit"):
        changed = json.loads(json.dumps(content))
        changed["surgery"]["plan"]["operations"] = {name: {"op": "kap"}}
        path.write_text(json.dumps(changed))
        with pytest.raises(ArtifactError, match="the key 'surgery' cannot be understood"):
            card.card(folder, "someone/net")
    path.write_text(json.dumps(content))
    assert set(ModelCard(card.card(folder, "someone/net")).data.to_dict()) == {
        "library_name",
        "pipeline_tag",
        "tags",
    }


@pytest.mark.parametrize("name", ['x") or exit("', "a/b\n", "a/`b`", "<x>/y", "owner", "a/b/c"])
def test_the_repository_is_a_name_before_it_is_in_a_card(folder, name):
    with pytest.raises(ArtifactError, match="is not a repository"):
        card.card(folder, name)


def test_a_folder_that_does_not_load_is_not_pushed(request, folder):
    fake, path = request.getfixturevalue("hub"), folder / "config.json"
    content = json.loads(path.read_text())
    broken = json.loads(path.read_text())
    broken["surgery"]["plan"]["edits"][0]["site"] = "nowhere"
    for keys, message in (
        (broken, "nowhere"),
        (content | {"architecture": "resnet18"}, "fingerprint|does not fit"),
        ({"architecture": "Net"}, "which no name makes"),
        (content | {"architecture": "mine.nets:Net"}, "nothing was imported"),
        (content | {"model_args": {"weights": "x"}}, "may not set"),
        (content | {"num_classes": 7}, "fingerprint|does not fit"),
    ):
        path.write_text(json.dumps(keys))
        for send in (pushing.prepare, pushing.push):
            with pytest.raises(SurgeonError, match=message) as error:
                send(folder, "someone/net")
            assert "\n" not in str(error.value)
        assert not (folder / "README.md").exists()
    assert fake.requests == [] and fake.repositories == {}
    path.write_text(json.dumps(content))
    pushing.push(folder, "someone/net")
    assert "README.md" in fake.repositories["someone/net"].files()


def test_a_terminal_shows_text_as_it_is(folder, tmp_path):
    from tests.cli.commandline import invoke

    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["surgery"]["plan"]["passed_over"] = [
        {"site": "[/b] :boom:", "operation": "[red]", "reason": "[/x] [link=http://x]y[/link]"}
    ]
    path.write_text(json.dumps(content))
    code, out, err = invoke("inspect", folder)
    assert code == 0, err
    assert "[/x] [link=http://x]y[/link]" in out and ":boom:" in out
    content["surgery"]["plan"]["passed_over"][0]["reason"] = "\x1b[31mred"
    path.write_text(json.dumps(content))
    code, out, err = invoke("inspect", folder)
    assert (code, err.count("\n")) == (2, 1) and "\x1b" not in err
