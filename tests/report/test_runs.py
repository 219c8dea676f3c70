"""What the report reads: names, folders of other things, hostile texts, runs that cannot be compared."""

import json

import pytest

from surgeon.errors import ArtifactError, SurgeonError
from surgeon.report import read_run, report
from surgeon.report.reading import compared, read_runs, unique
from tests.report.parsed import Page

BAD = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp; $\\foo$ url(#a) #0a0b00 {{ 7 * 7 }}"


def changed(folder, change):
    """Its evaluation.json, changed."""
    path = folder / "evaluation.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(content) or content), encoding="utf-8")
    return folder


def hostile(value, kept):
    """Every string with what must be escaped in it, but for the `kept` ones, which are a choice of a few."""
    if isinstance(value, dict):
        return {k if k in kept else k + (BAD if " " in k else ""): hostile(v, kept) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v, kept) for v in value]
    return value + BAD if isinstance(value, str) and value not in kept else value


def choices(schema):
    """All strings that a schema's enumerations name."""
    if isinstance(schema, dict):
        own = set(schema.get("enum", ())) | {schema.get("const")}
        return own.union(*(choices(v) for v in schema.values()))
    return set().union(*(choices(v) for v in schema)) if isinstance(schema, list) else set()


@pytest.fixture
def hostile_copy(copied, runs):
    """hostile_copy(name, to): a run's folder under another name, whose texts are all hostile."""
    from surgeon.evaluation.assessment import Assessment

    pictures = {p.name for p in (runs["stock"] / "pictures").iterdir()}
    kept = choices(Assessment.model_json_schema()) | pictures
    return lambda name, to: changed(copied(name, to), lambda c: hostile(c, kept))


def test_hostile_texts_are_texts(hostile_copy, copied, runs, tmp_path):
    folders = [hostile_copy("stock", "<script>alert(3)<'\"&$\\foo$_"), hostile_copy("rounded", "<b>rounded")]
    folders.append(changed(copied("kap", "_kap"), lambda c: c["plan"].update(recipe=BAD, model=BAD)))
    one = Page(report(folders, tmp_path / "page.html").read_text(encoding="utf-8"))
    plain = Page(
        report([runs[r] for r in ("stock", "rounded", "kap")], tmp_path / "plain.html").read_text(
            encoding="utf-8"
        )
    )
    assert one.faults() == []
    shapes = [
        [
            (e.tag, sorted(e.attributes))
            for e in p.elements
            if e.tag in ("script", "style", "img", "b", "link", "a")
        ]
        for p in (one, plain)
    ]
    assert shapes[0] == shapes[1]
    assert not [k for e in one.elements for k in e.attributes if k.startswith("on")]
    assert {v for _, v in one.links if not v.startswith(("#", "data:"))} == set()
    assert one.all("h1")[0].text == f"Robustness of {', '.join(f.name for f in folders)}"
    assert f"Recipe {BAD} on {BAD}" in one.of(id="surgery")[0].whole
    assert [BAD in card.whole for card in one.of(class_="card")] == [True, True, False]
    assert all(BAD in li.text for li in one.of(class_="reasons")[0].all("li"))
    assert BAD in one.of(id="diagnostics")[0].whole and BAD in one.of(id="reproduce")[0].text
    told = {e.attributes["data-told"].split(", at ")[0] for e in one.of(class_="point")}
    assert told == {folders[0].name, f"{folders[0].name}, σ = 0.25", folders[2].name}


def test_folders_that_hold_no_finished_evaluation(runs, copied, tmp_path):
    begun, damaged = copied("stock", "begun"), copied("stock", "damaged")
    (begun / "evaluation.json").unlink()
    (damaged / "evaluation.json").write_text("{}", encoding="utf-8")
    (tmp_path / "other").mkdir()
    for folder, message in (
        (begun, "begun holds an evaluation that is not finished: run the same command again"),
        (tmp_path / "other", "other holds no evaluation: there is no evaluation.json in it"),
        (tmp_path / "none", "none holds no evaluation"),
        (damaged, "damaged/evaluation.json cannot be read"),
    ):
        with pytest.raises(ArtifactError) as error:
            report([runs["stock"], folder], tmp_path / "page.html")
        assert message in str(error.value) and "\n" not in str(error.value)
        assert not (tmp_path / "page.html").exists()
    with pytest.raises(SurgeonError, match="one folder of an evaluation or more"):
        report([], tmp_path / "page.html")


def test_an_evaluation_inside_a_run_and_the_current_folder_have_names(runs, copied, tmp_path, monkeypatch):
    inside = copied("stock", "my-run/evaluation")
    assert read_run(tmp_path / "my-run").name == read_run(inside).name == "my-run"
    monkeypatch.chdir(runs["kap"])
    assert read_run(".").name == "kap"


def test_runs_of_one_name_get_the_folder_above(copied):
    a, b = read_run(copied("stock", "a/net")), read_run(copied("stock", "b/net"))
    assert [r.name for r in unique([a, b, read_run(copied("kap", "kap"))])] == ["a/net", "b/net", "kap"]
    assert [r.name for r in unique([a, a])] == ["a/net (1)", "a/net (2)"]


def test_a_study_is_its_arms(copied, runs, tmp_path):
    from surgeon.pipeline.studying import ARMS, ROLES, Arm, Study

    study = tmp_path / "study"
    places = [f"{name.replace(', ', '-')}/0" for name in ARMS]
    for place in places:
        copied("stock", f"study/{place}/evaluation")
    (study / "study.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="study that is not finished"):
        read_runs(study)
    arms = tuple(Arm(name=n, role=ROLES[n], seeds=(0,), clean=(1,), worst=(1,), reliable=(True,)) for n in ARMS)
    table = Study(recipe="kap", model="net", arms=arms, folders=tuple(places))
    (study / "table.json").write_text(table.model_dump_json(), encoding="utf-8")
    assert [r.name for r in read_runs(study)] == list(ARMS)
    (study / "table.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"table\.json cannot be read"):
        read_runs(study)


def test_runs_are_compared_only_on_the_same_images_under_the_same_attacks(runs, copied, tmp_path):
    stock, kap = read_run(runs["stock"]), read_run(runs["kap"])
    pair = compared(stock, kap)
    assert pair.n == 40 and pair.difference == pytest.approx(
        (kap.found.summary.worst.k - stock.found.summary.worst.k) / 40
    )
    other = changed(
        copied("kap", "other-size"), lambda c: c["summary"].update(main=["quick", "linf", 0.5, 0])
    )
    gone = copied("kap", "gone")
    (gone / "verdicts.parquet").unlink()
    for folder in (other, gone):
        assert compared(stock, read_run(folder)) is None
        one = Page(report([runs["stock"], folder], tmp_path / "page.html").read_text(encoding="utf-8"))
        assert "not compared: no images in common, or other attacks" in one.of(id="compare")[0].whole


def test_a_picture_that_is_gone_or_elsewhere_is_left_out(copied, tmp_path):
    folder = copied("stock", "stock")
    (folder / "secret.png").write_bytes(b"secret")
    changed(folder, lambda c: c["pictures"][0].update(file="../secret.png"))
    one = Page(report([folder], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(one.all("img")) == len(json.loads((folder / "evaluation.json").read_text())["pictures"]) - 1


def test_a_random_network_has_a_number_though_two_passes_differ(copied, tmp_path):
    def noisy(content):
        content["subject"].update(random=True, mode="random")
        content["diagnosis"]["checks"][0]["failed"] = True

    folder = changed(copied("stock", "noisy"), noisy)
    (card,) = Page(report([folder], tmp_path / "page.html").read_text(encoding="utf-8")).of(class_="card")
    assert (
        "by majority of draws" in card.whole
        and "failed: two-passes; its randomness is answered" in card.whole
    )
    assert "No number" not in card.whole


def test_every_attack_and_check_is_told_in_words(runs):
    from surgeon.evaluation import suite
    from surgeon.evaluation.suites import PAPERS
    from surgeon.recipe import Evaluation
    from surgeon.report.words import attack_words, check_words

    settings = [Evaluation(suite="paper", paper=p) for p in PAPERS]
    settings += [Evaluation(suite=s, norm=n) for s in ("basic", "quick", "standard") for n in ("linf", "l2")]
    for one in settings:
        for classes in (2, 3, 10):
            for random in (False, True):
                for attack in suite(one, classes=classes, random=random, sources=["other"]):
                    assert attack_words(attack.name), attack.name
    for name in ("stock", "kap"):
        for check in read_run(runs[name]).found.diagnosis.checks:
            assert check_words(check.code).endswith("?"), check.code
