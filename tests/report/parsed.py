"""A page as the tests read it: its elements in order, and everything that is wrong with its structure."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}
LINKS = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}
DRAWN = {"style", "clip-path", "fill", "stroke", "filter", "mask"}


@dataclass
class Element:
    tag: str
    attributes: dict
    parents: tuple
    text: str = ""
    children: list = field(default_factory=list)

    def all(self, tag):
        """Its descendants of one tag, in order."""
        found = []
        for child in self.children:
            found += [child] * (child.tag == tag) + child.all(tag)
        return found

    @property
    def whole(self):
        """Its text with that of its children, spaces as one."""
        return " ".join(self.text.split())


class Page(HTMLParser):
    """Raises AssertionError where tags are not balanced."""

    def __init__(self, text):
        super().__init__()
        self.source, self.elements, self.stack = text, [], []
        self.feed(text)
        self.close()
        assert not self.stack, f"not closed: {[e.tag for e in self.stack]}"

    def handle_starttag(self, tag, attributes, closed=False):
        names = [n for n, _ in attributes]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, dict(attributes), tuple(e.tag for e in self.stack))
        if self.stack:
            self.stack[-1].children.append(element)
        self.elements.append(element)
        if tag not in VOID and not closed:
            self.stack.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes, closed=True)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1].tag == tag, f"</{tag}> closes {[e.tag for e in self.stack[-3:]]}"
        self.stack.pop()

    def handle_data(self, data):
        for element in self.stack:
            element.text += data

    def all(self, tag):
        return [e for e in self.elements if e.tag == tag]

    def of(self, **attributes):
        """The elements with these attributes; `class_` is one of the classes."""
        wanted = attributes.pop("class_", None)
        return [
            e
            for e in self.elements
            if all(e.attributes.get(k) == v for k, v in attributes.items())
            and (wanted is None or wanted in (e.attributes.get("class") or "").split())
        ]

    def rows(self, label):
        """The lines of the table in the region with this label: a list of cells for each."""
        (region,) = self.of(**{"aria-label": label})
        return [
            [c for c in row.children if c.tag in ("td", "th")] for row in region.all("tbody")[0].all("tr")
        ]

    @property
    def links(self):
        """Everything that an attribute or the style points at."""
        found = [(e.tag, v) for e in self.elements for k, v in e.attributes.items() if k in LINKS]
        styles = [e.text for e in self.all("style")]
        styles += [v or "" for e in self.elements for k, v in e.attributes.items() if k in DRAWN]
        return found + [("url()", u.strip("'\" ")) for t in styles for u in re.findall(r"url\(([^)]*)\)", t)]

    def faults(self):
        """What is wrong with headings, ids, pictures, tables and targets."""
        found, ids = [], [e.attributes["id"] for e in self.elements if "id" in e.attributes]
        found += [f"id {i} twice" for i in set(ids) if ids.count(i) > 1]
        levels = [int(e.tag[1]) for e in self.elements if re.fullmatch(r"h[1-6]", e.tag)]
        if levels.count(1) != 1 or levels[0] != 1:
            found.append(f"headings are not one h1 and what is below it: {levels}")
        found += [f"h{b} follows h{a}" for a, b in zip(levels, levels[1:], strict=False) if b > a + 1]
        found += ["an img without alt" for e in self.all("img") if not e.attributes.get("alt")]
        found += [f"{t} {v[:40]} is nowhere" for t, v in self.links if v.startswith("#") and v[1:] not in ids]
        for key in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            found += [
                f"{key} {e.attributes[key]}"
                for e in self.elements
                if e.attributes.get(key, ids[0]) not in ids
            ]
        for table in self.all("table"):
            found += _faults_of(table)
        return found


def _faults_of(table):
    """Heads need a scope, every line its own, and as many cells as there are columns."""
    columns = table.all("thead")[0].all("tr")[0].children if table.all("thead") else []
    found = [] if columns else ["a table without a head"]
    found += [
        f"th {c.whole!r} without scope"
        for c in table.all("th")
        if c.attributes.get("scope") not in ("col", "row")
    ]
    found += [f"an empty head in {[c.whole for c in columns]}" for c in columns if not c.whole]
    for row in table.all("tbody")[0].all("tr"):
        cells = [c for c in row.children if c.tag in ("td", "th")]
        if (
            not cells
            or cells[0].tag != "th"
            or sum(int(c.attributes.get("colspan", 1)) for c in cells) != len(columns)
        ):
            found.append(f"line {[c.whole for c in cells]} does not fit {[c.whole for c in columns]}")
    return found
