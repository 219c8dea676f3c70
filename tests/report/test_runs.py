"""What the report reads: names, folders of other things, hostile texts, runs that cannot be compared."""

import json

import pytest

from surgeon.disk.hashes import own_hash
from surgeon.disk.hidden import MANIFEST
from surgeon.errors import ArgumentError, ArtifactError, SurgeonError
from surgeon.report import read_run, reading, report
from surgeon.report.reading import compared, read_runs, unique
from surgeon.results.study import ARMS, CONTROL, below, tabulate
from tests.report.parsed import Page

BAD = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp; $\\foo$ url(#a) #0a0b00 {{ 7 * 7 }}"


def changed(folder, change):
    """Its evaluation.json, changed, and no longer sealed: as an evaluation that gave this."""
    manifest = folder / MANIFEST
    sealed = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**sealed, "texts": {}}), encoding="utf-8")
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
    from surgeon.results.assessment import Assessment

    pictures = list((runs["stock"] / "pictures").iterdir())
    kept = choices(Assessment.model_json_schema()) | {n for p in pictures for n in (p.name, own_hash(p))}
    return lambda name, to: changed(copied(name, to), lambda c: hostile(c, kept))


def test_hostile_texts_are_texts(hostile_copy, copied, runs, tmp_path, monkeypatch):
    # Records that contradict their verdicts are refused before: here they are let through.
    monkeypatch.setattr(reading, "check_untouched", lambda folder, found: None)
    folders = [hostile_copy("stock", "<script>alert(3)<'\"&$\\foo$_"), hostile_copy("rounded", "<b>rounded")]
    folders.append(changed(copied("kap", "_kap"), lambda c: c["plan"].update(model=BAD)))
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
    assert f"on {BAD}" in one.of(id="surgery")[0].whole
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
    study, table = study_of(copied, tmp_path, "stock", arms="stock")
    places = table.folders
    (study / "table.json").rename(study / "kept.json")
    with pytest.raises(ArtifactError, match="study that is not finished"):
        read_runs(study)
    (study / "kept.json").rename(study / "table.json")
    assert [r.name for r in read_runs(study)] == list(ARMS)
    changed(study / places[2] / "evaluation", lambda c: c["made"].update(target=f"/moved/study/{places[2]}"))
    assert [r.name for r in read_runs(study)] == list(ARMS)
    changed(study / places[2] / "evaluation", lambda c: c["made"].update(target=f"/moved/study/{places[0]}"))
    with pytest.raises(
        ArtifactError, match="surgery/0 holds the evaluation of /moved/study/stock/0, not its own"
    ):
        read_runs(study)
    (study / "table.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"table\.json cannot be read"):
        read_runs(study)


def study_of(copied, tmp_path, control, arms="kap", seeds=(0,)):
    """A study's folder, whose arms are copies of a network, but for the control."""
    for name in ARMS:
        for seed in seeds:
            copied(control if name == CONTROL else arms, f"study/{below(name, seed)}/evaluation")
    study = tmp_path / "study"
    places = {name: [study / below(name, seed) / "evaluation" for seed in seeds] for name in ARMS}
    results = {name: [read_run(p).found for p in own] for name, own in places.items()}
    table = tabulate("kap", "net", seeds, results, places)
    (study / "study.json").write_text("{}", encoding="utf-8")
    (study / "table.json").write_text(table.model_dump_json(), encoding="utf-8")
    return study, table


def test_a_studys_page_compares_with_the_control_as_its_table_does(copied, tmp_path):
    """Arms stand in the order of their folders; the reference is the one whose role is `control`."""
    from surgeon.cli.results import _difference as shown

    study, table = study_of(copied, tmp_path, "stock")
    one = Page(report([study], tmp_path / "page.html").read_text(encoding="utf-8"))
    compare = one.of(id="compare")[0].whole
    assert "Against stock, fine-tuned, image by image" in compare
    assert "Differences are from stock, fine-tuned : the control of the study" in compare.replace(
        "tuned:", "tuned :"
    )
    rows = {
        r[0].whole.removesuffix(" not to be quoted"): r[1].whole
        for r in one.rows("Paired comparison with stock, fine-tuned")
    }
    assert list(rows) == [a.name for a in table.arms if a.role != "control"]
    for arm in table.arms:
        if arm.role != "control":
            assert shown(arm.worst_difference).split()[0] == rows[arm.name].split()[0]
    assert any(float(r.split()[0].replace("−", "-")) for r in rows.values()), (
        "the arms differ from the control"
    )


def test_arms_given_one_by_one_know_what_they_are_for(copied, tmp_path):
    study, _ = study_of(copied, tmp_path, "stock")
    folders = [
        study / "surgery-fine-tuned" / "0",
        study / "stock" / "0" / "evaluation",
        study / "stock-fine-tuned" / "0",
    ]
    one = Page(report(folders, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "Against stock, fine-tuned, seed 0, image by image" in one.of(id="compare")[0].whole
    rows = one.rows("Paired comparison with stock, fine-tuned, seed 0")
    names = [r[0].whole.removesuffix(" not to be quoted") for r in rows]
    assert names == ["surgery, fine-tuned, seed 0", "stock, seed 0"]


def test_over_several_seeds_the_page_has_the_studys_mean(copied, tmp_path):
    study, table = study_of(copied, tmp_path, "stock", seeds=(3, 4))
    one = Page(report([study], tmp_path / "page.html").read_text(encoding="utf-8"))
    rows = one.rows("Paired comparison with stock, fine-tuned")
    for row, arm in zip(rows, (a for a in table.arms if a.role != "control"), strict=True):
        told = arm.worst_difference
        values = [f"{100 * v:+.1f}".replace("-", "−") for v in (told.mean, told.low, told.high)]
        assert row[1].whole == "{} [{} to {}]".format(*values) and row[2].whole == "2 seeds"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["arms"][3]["worst_difference"].update(mean=0.5),
        lambda c: c["arms"][3]["worst_difference"]["pairs"][1].update(p=0.001),
        lambda c: c["arms"][4].update(worst_difference=None),
        lambda c: c["arms"][0].update(clean=[0.99, 0.99]),
        lambda c: c["arms"][2].update(reliable=[not r for r in c["arms"][2]["reliable"]]),
    ],
)
def test_a_number_that_was_changed_in_a_studys_table_is_on_no_page(copied, tmp_path, change):
    study, _ = study_of(copied, tmp_path, "stock", seeds=(0, 1))
    content = json.loads((study / "table.json").read_text(encoding="utf-8"))
    change(content)
    (study / "table.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"table\.json says of .*(fine-tuned|stock|surgery).* what its"):
        report([study], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_an_arm_has_its_own_role_and_folder_whatever_a_studys_table_says(copied, tmp_path):
    study, table = study_of(copied, tmp_path, "stock")
    for change in (
        lambda c: c["arms"][0].update(role="surgery"),
        lambda c: c["arms"].reverse(),
        lambda c: c["folders"].reverse(),
        lambda c: c["arms"][1].update(seeds=[7]),
    ):
        content = json.loads(table.model_dump_json())
        change(content)
        (study / "table.json").write_text(json.dumps(content), encoding="utf-8")
        for folder in (study, study / "stock" / "0"):
            with pytest.raises(ArtifactError, match=r"table\.json cannot be read"):
                report([folder], tmp_path / "page.html")


def test_an_evaluation_of_a_later_seed_that_was_changed_is_on_no_page(copied, tmp_path):
    study, _ = study_of(copied, tmp_path, "stock", seeds=(0, 1))
    changed(
        study / "surgery" / "1" / "evaluation",
        lambda c: c["summary"].update(worst=c["summary"]["clean"]),
    )
    with pytest.raises(ArtifactError, match="surgery/1/evaluation.* says that"):
        report([study], tmp_path / "page.html")


def test_a_surgery_is_compared_with_its_base_wherever_that_stands(runs, tmp_path):
    from surgeon.report.comparing import FIRST, KIND, comparisons

    kap, defective, stock = (read_run(runs[n]) for n in ("kap", "defective", "stock"))
    (one,) = comparisons([kap, defective, stock])  # both were trained after their cut
    assert (one.reference, one.whys) == (2, ((KIND, (0, 1)),)) and [k for k, _ in one.rows] == [0, 1]
    page = Page(report([runs["kap"], runs["stock"]], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert (
        "Against stock, image by image" in page.of(id="compare")[0].whole
        and KIND in page.of(id="compare")[0].whole
    )
    (alone,) = comparisons([kap, defective])
    assert (alone.reference, alone.whys) == (0, ((FIRST, (1,)),)) and [k for k, _ in alone.rows] == [1]
    assert comparisons([stock]) == []


def test_a_study_and_other_runs_on_one_page_have_references_of_their_own(copied, runs, tmp_path):
    from surgeon.report.comparing import CONTROL, KIND, comparisons

    study, _ = study_of(copied, tmp_path, "stock")
    found = comparisons([*read_runs(study), read_run(runs["kap"]), read_run(runs["stock"])])
    assert [(c.reference, c.whys) for c in found] == [(1, ((CONTROL, (0, 2, 3, 4)),)), (6, ((KIND, (5,)),))]
    both = [r.name for r in unique([*read_runs(study), *read_runs(study)])]
    assert both[0] == "study/stock (1)"


def test_runs_are_compared_only_on_the_same_images_under_the_same_attacks(
    runs, copied, tmp_path, monkeypatch
):
    # Records that contradict their verdicts are refused before: here they are let through.
    monkeypatch.setattr(reading, "check_untouched", lambda folder, found: None)
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
    for folder, why in ((other, "other attacks"), (gone, "no images in common")):
        assert compared(stock, read_run(folder)) is None
        one = Page(
            report([runs["stock"], folder], tmp_path / "page.html", overwrite=True).read_text(
                encoding="utf-8"
            )
        )
        assert f"not compared: {why}" in one.of(id="compare")[0].whole


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
    from surgeon.methods.registry import papers
    from surgeon.recipe import Evaluation
    from surgeon.report.words import attack_words, check_words

    settings = [Evaluation(suite="paper", paper=p) for p in papers()]
    settings += [Evaluation(suite=s, norm=n) for s in ("basic", "quick", "standard") for n in ("linf", "l2")]
    for one in settings:
        for classes in (2, 3, 10):
            for random in (False, True):
                for attack in suite(one, classes=classes, random=random, sources=["other"]):
                    assert attack_words(attack.name), attack.name
    for name in ("stock", "kap"):
        for check in read_run(runs[name]).found.diagnosis.checks:
            assert check_words(check.code).endswith("?"), check.code
            for norm in ("linf", "l2", "l1"):  # of a further norm of a union
                assert check_words(f"{check.code} in {norm}") == check_words(check.code)


def test_a_run_is_not_compared_with_itself(runs, tmp_path):
    for twice in ([runs["stock"], runs["stock"]], [runs["kap"], runs["stock"], f"{runs['kap']}/."]):
        with pytest.raises(ArgumentError, match="is given more than once"):
            report(twice, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
