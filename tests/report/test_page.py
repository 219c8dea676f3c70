"""The page as text: whole in itself, well-formed, the verdict first, its figures those of evaluation.json."""

import json
import re
import subprocess
import sys

import pytest

from surgeon.report import report
from tests.report.parsed import Page

EVERY = ("one", "bare", "refused", "all")


@pytest.fixture
def page(pages):
    return lambda name: Page(pages[name].read_text(encoding="utf-8"))


def found(folder):
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def percent(share):
    return f"{100 * share['k'] / share['n']:.1f}\N{NO-BREAK SPACE}%"


def brackets(share):
    return f"[{100 * share['low']:.1f}–{100 * share['high']:.1f}]"


@pytest.mark.parametrize("name", EVERY)
def test_structure(page, name):
    one = page(name)
    assert one.faults() == []
    assert one.all("html")[0].attributes["lang"] == "en"
    (skip,) = one.of(class_="skip")
    assert one.elements.index(skip) == min(one.elements.index(a) for a in one.all("a"))
    assert one.of(id=skip.attributes["href"][1:])[0].tag == "main"


@pytest.mark.parametrize("name", EVERY)
def test_asks_nothing_of_a_network(page, name):
    one = page(name)
    assert {v for _, v in one.links if not v.startswith(("#", "data:"))} == set()
    assert "@import" not in one.all("style")[0].text
    for element in one.elements:
        assert {k for k, v in element.attributes.items() if v and "://" in v} <= {"xmlns", "xmlns:xlink"}
    assert len(one.all("script")) == 1 and not any(
        w in one.all("script")[0].text for w in ("fetch", "XMLHttp", "import")
    )


@pytest.mark.parametrize("name", EVERY)
def test_the_verdict_comes_first(page, name):
    sections = [s.attributes["id"] for s in page(name).all("section")]
    assert sections[0] == "verdict" and sections[-1] == "reproduce"
    assert ("compare" in sections) == (name == "all")


def test_a_card_has_the_number_its_size_and_its_images(page, runs):
    for card, name in zip(
        page("all").of(class_="card"), ("stock", "kap", "defective", "rounded"), strict=True
    ):
        summary = found(runs[name])["summary"]
        assert card.all("h3")[0].whole == name
        assert "L∞ ε = 8/255" in card.whole and "40, digits test" in card.whole
        clean = " ".join(f"{percent(summary['clean'])} {brackets(summary['clean'])}".split())
        assert f"Clean{clean}" in card.whole.replace("Clean ", "Clean")
        if summary["headline"]:
            share = summary["headline"]["share"]
            gained = 0 if found(runs[name])["gain"] is None else 2  # what the surgery adds stands first
            assert card.all("span")[gained].text == percent(share)
            assert any(brackets(share) in p.text for p in card.all("p"))
            assert "as an upper bound; diagnostics: " in card.whole


def test_a_card_of_a_surgery_tells_what_the_attacker_who_knows_it_tried(pages, runs):
    from surgeon.evaluation import read_assessment

    text = pages["all"].read_text(encoding="utf-8")
    for name in ("kap", "defective"):
        gain = read_assessment(runs[name]).gain
        assert len(gain.tried) > 0 and all(f"{t.source} {t.share.k}" in gain.trial for t in gain.tried)
        assert f"{gain.text}. {gain.trial}." in text, name


def test_no_number_where_diagnostics_failed_or_were_not_made(page, runs):
    (card,) = page("refused").of(class_="card")
    reasons = found(runs["rounded"])["summary"]["refused"]
    assert any("zero-gradients" in r for r in reasons)
    assert card.attributes["class"] == "card bad" and "No number to quote" in card.whole
    assert [li.whole for li in card.all("li")] == reasons
    assert "in the worst case, not to be quoted" in card.whole and not card.all("span")[0].whole.endswith("%")
    (card,) = page("bare").of(class_="card")
    assert "No number to quote" in card.whole and "no diagnostics were made" in card.whole
    notes = [row[1].whole for row in page("all").rows("Comparison of runs")]
    assert ["not to be quoted" in n for n in notes] == [False, False, True, True]


def test_every_attack_has_its_figures(page, runs):
    names = ("stock", "kap", "defective", "rounded")
    lines = page("all").rows("Accuracy under each attack")
    seen = adaptive = 0
    for column, name in enumerate(names, 1):
        summary = found(runs[name])["summary"]
        expected = {("none (clean)", ""): summary["clean"], ("worst case", "quick"): summary["worst"]}
        expected |= {(r["attack"], r["group"]): r["shares"][0] for r in summary["rows"]}
        adaptive += sum(r["attack"].startswith("adaptive") for r in summary["rows"])
        for line in lines:
            share = expected.pop((line[0].whole, line[-1].whole), None)
            assert (
                line[column].text == "–"
                if share is None
                else float(line[column].attributes["data-value"]) == share["k"] / share["n"]
            )
            if share:
                assert line[column].text.strip() == f"{percent(share)} {brackets(share)}"
                seen += 1
        assert not expected
    assert (
        adaptive and seen == 4 * 6 + 1 + adaptive
    )  # clean, four attacks and their worst case; the transfer to kap


def test_growth_speed_and_pairs(page, runs):
    one, kap = page("all"), found(runs["kap"])
    rows = {r[0].whole.split()[0]: [c.whole for c in r[1:]] for r in one.rows("Growth of kap")}
    before, added = kap["plan"]["before"], sum(e["growth"]["flops"] for e in kap["plan"]["edits"])
    assert added > 0 and rows["FLOPs"] == [
        f"{before['flops']:,}",
        f"{before['flops'] + added:,}",
        f"{1 + added / before['flops']:.3f}×",
    ]
    assert "images" not in rows, "folded, it computes what the stock network computes"
    cut = {r[0].whole.split()[0]: [c.whole for c in r[1:]] for r in one.rows("Growth of defective")}
    assert cut["images"][2].endswith("×")
    assert len(one.rows("Edits of kap")) == len(kap["plan"]["edits"])
    assert "A stock network: nothing was cut." in page("one").of(id="surgery")[0].whole
    cost = one.rows("Comparison of runs")[1]
    assert cost[6].whole == "1.000×", "folded, it is the stock network again"
    speeds = {r[0].whole.split()[0]: r[7].whole for r in one.rows("Comparison of runs")}
    assert speeds["stock"] == speeds["kap"] == "1.00×"
    assert re.fullmatch(r"\d+\.\d\d× \[\d+\.\d\d to \d+\.\d\d\]", speeds["defective"])
    pairs = {
        r[0].whole.split()[0]: [c.whole for c in r[1:]] for r in one.rows("Paired comparison with stock")
    }
    worst = {n: found(runs[n])["summary"]["worst"]["k"] for n in ("stock", "kap")}
    assert pairs["kap"][0].startswith(f"{100 * (worst['kap'] - worst['stock']) / 40:+.1f}".replace("-", "−"))
    assert (
        int(pairs["kap"][2]) - int(pairs["kap"][3]) == worst["kap"] - worst["stock"]
        and pairs["kap"][4] == "40"
    )


def test_sections_only_of_what_was_measured(page):
    assert {"noise", "corruptions", "certificates", "pictures"} <= {
        s.attributes["id"] for s in page("one").all("section")
    }
    bare = page("bare")
    assert [s.attributes["id"] for s in bare.all("section")] == [
        "verdict",
        "surgery",
        "attacks",
        "diagnostics",
        "reproduce",
    ]
    assert not bare.all("img") and "no diagnostics were made" in bare.of(id="diagnostics")[0].whole
    assert {a.attributes["href"][1:] for a in bare.all("nav")[0].all("a")} == {
        s.attributes["id"] for s in bare.all("section")
    }


def test_corruptions_certificates_and_noise(page, runs):
    one, stock = page("one"), found(runs["stock"])
    rows = {r[0].whole: r[1] for r in one.rows("Common corruptions")}
    fog = [c["share"] for c in stock["corruptions"] if c["kind"] == "fog"]
    assert float(rows["fog"].attributes["data-value"]) == pytest.approx(sum(s["k"] / s["n"] for s in fog) / 5)
    assert rows["fog"].all("span")[0].whole == " ".join(f"{100 * s['k'] / s['n']:.0f}" for s in fog)
    line = one.of(id="certificates")[0].all("tbody")[0].all("tr")[0]
    first = stock["certified"][0]["points"][0]["share"]
    assert percent(first) in line.text and brackets(first) in line.text and "200" in line.whole
    noise = one.rows("Noise at inference on adversarial images")
    assert [c[2].all("span")[0].text for c in noise] == [percent(n["share"]) for n in stock["noise"]]


def test_pictures_of_several_runs_stand_together(runs, copied, tmp_path):
    other = copied("stock", "other")
    one = Page(report([runs["stock"], other], tmp_path / "page.html").read_text(encoding="utf-8"))
    titles = [h.whole for h in one.of(id="pictures")[0].all("h3")]
    assert len(titles) == len(set(titles)) > 2
    images = one.all("img")
    assert len(images) == 2 * len(found(other)["pictures"])
    assert all(i.attributes["src"].startswith("data:image/png;base64,") for i in images)
    assert [f.all("strong")[0].whole for f in one.of(id="pictures")[0].all("figure")[:2]] == [
        "stock.",
        "other.",
    ]


def test_the_same_runs_give_the_same_bytes(pages, runs, tmp_path):
    again = report([runs[r] for r in ("stock", "kap", "defective", "rounded")], tmp_path / "again.html")
    assert again.read_bytes() == pages["all"].read_bytes()


def test_settings_to_reproduce(page, runs):
    text = page("one").of(id="reproduce")[0]
    assert text.all("pre")[0].text == "surgeon evaluate 'a folder'"
    assert json.loads(text.all("pre")[1].text) == found(runs["stock"])["settings"]
    assert found(runs["stock"])["subject"]["weights"] in text.whole


def test_reading_a_page_needs_no_torch():
    code = "import surgeon.report, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
