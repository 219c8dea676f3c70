"""An evaluation with a store holds its images' verdicts and a block, and says what one in memory says."""

import re
import shutil
import weakref

import pytest
import torch
from attacks_used import MIXED, same
from torch import nn

from surgeon.disk.files import count_parquet, each_of_parquet, read_parquet, read_rows, write_parquet
from surgeon.errors import ArgumentError, ArtifactError, DataError
from surgeon.evaluation import (
    Attack,
    Outcome,
    Store,
    Verdict,
    adversarial_images,
    evaluate,
    read_outcome,
    summarize,
)
from surgeon.evaluation.engine import blocks as engine
from surgeon.evaluation.engine.fingerprints import image_hashes
from surgeon.evaluation.finished import write_assessment
from surgeon.results.distances import distance_curves
from surgeon.results.threat import main_threat, union_text
from surgeon.results.verdict import COLUMNS, standing


def data(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    x = torch.rand(images, 1, 2, 2)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


MANY = tuple(Attack(name=f"a{k}", kind="own-pgd", eps=0.05, steps=1, cascade=False) for k in range(4))


@pytest.fixture
def living(monkeypatch):
    """The verdicts that live, by their ids."""
    found, make = {}, Verdict.__init__

    def made(self, **values):
        make(self, **values)
        key = id(self)
        found[key] = weakref.ref(self, lambda _: found.pop(key, None))

    monkeypatch.setattr(Verdict, "__init__", made)
    return found


def peak_of(blocks, store, living):
    """The most verdicts that lived at once, while attacking and while all of them are read and summed up."""
    images = blocks * engine.BLOCK
    living.clear()
    seen = []
    outcome = evaluate(*data(images), MANY, store=store, advance=lambda *_: seen.append(len(living)))
    seen += [len(living) for _ in outcome]
    seen += [len(living) for _ in outcome.rows()]
    summarize(outcome)
    assert len(outcome) == images * (1 + len(MANY))
    return max(seen)


def test_what_is_held_grows_with_images_and_not_with_attacks(tmp_path, living):
    few, many = 2, 5
    small, large = (peak_of(n, Store(tmp_path / str(n)), living) for n in (few, many))
    grown = (many - few) * engine.BLOCK
    assert large - small <= grown + engine.BLOCK
    small, large = (peak_of(n, None, living) for n in (few, many))
    assert large - small >= len(MANY) * grown  # the measure sees what is held


def test_what_it_says_is_the_same(exact, tmp_path):
    model, (x, y) = exact
    attacks = (*MIXED, Attack(name="cw", kind="cw", norm="l2", steps=3, cascade=False))
    plain = evaluate(model, x, y, attacks)
    kept = evaluate(model, x, y, attacks, store=Store(tmp_path / "e"))
    assert same(kept, plain) and len(kept) == len(plain)
    assert summarize(kept) == summarize(plain)
    assert distance_curves(kept) == distance_curves(plain)
    assert kept.clean == tuple(plain.clean)
    for attack in attacks:
        assert same(kept.of(attack), plain.of(attack))
    main = main_threat(attacks)
    assert standing(kept.rows(), main) == standing(plain.rows(), main)
    again = read_outcome(tmp_path / "e")
    assert again == kept and hash(again) == hash(kept)
    assert again.verdicts == tuple(kept) and kept.verdicts[-1] == list(kept)[-1]
    assert again.verdicts != plain.verdicts[:-1]


def test_nothing_is_gathered_from_processes_that_share_a_store(monkeypatch, tmp_path):
    def gathered(rows):
        raise AssertionError(f"{len(rows)} rows sent")

    monkeypatch.setattr(engine, "gathered", gathered)
    assert len(evaluate(*data(70), MANY[:1], store=Store(tmp_path / "e"))) == 140


def test_an_outcome_whose_folder_is_gone_says_so(tmp_path):
    outcome = evaluate(*data(10), MANY[:1], store=Store(tmp_path / "e"))
    shutil.rmtree(tmp_path / "e" / "blocks")
    for use in (list, len, summarize, lambda o: list(o.of(MANY[0]))):
        with pytest.raises(ArtifactError, match="keep the folder for as long as the outcome is used"):
            use(outcome)
    assert len(outcome.clean) == 10


def test_of_a_union_an_image_is_that_of_the_attack_that_turned_it(tmp_path):
    """Attacks on parts of a union share their names: the one in Linf did not turn the image that the one in L2 did."""
    union = union_text([("linf", 0.1), ("l2", 1.0)])
    attacks = [
        Attack(name="pgd", kind="own-pgd", norm=n, eps=e, union=union)
        for n, e in (("linf", 0.1), ("l2", 1.0))
    ]
    store, shared = Store(tmp_path, keep=True), dict(example=0, label=0, clean=0, margin=1.0)
    shared["image"] = image_hashes(torch.zeros(1, 1, 2, 2))[0]
    rows = [Verdict(attack="none", success=False, prediction=0, votes=1, **shared)]
    for number, attack in enumerate(attacks):
        turned = attack.norm == "l2"
        row = Verdict(
            attack="pgd",
            norm=attack.norm,
            eps=attack.eps,
            success=turned,
            prediction=int(turned),
            votes=float(not turned),
            **shared,
        )
        store.write(number, attack, 0, [row], torch.full((1, 1, 2, 2), 0.1 + number))
        rows.append(row)
    found = adversarial_images(tmp_path, Outcome(tuple(rows), tuple(attacks)), torch.zeros(1, 1, 2, 2))
    assert torch.equal(found, torch.full((1, 1, 2, 2), 1.1))


def test_tables_are_written_and_read_in_parts(tmp_path, monkeypatch):
    from surgeon.disk import files

    monkeypatch.setattr(files, "_ROWS", 3)
    rows = [{"a": k, "b": str(k)} for k in range(8)]
    for count in (0, 3, 8):
        path = tmp_path / f"{count}.parquet"
        write_parquet(path, {"a": "int64", "b": "string"}, iter(rows[:count]))
        assert read_parquet(path) == list(each_of_parquet(path)) == rows[:count]
        assert count_parquet(path) == count
    path.write_bytes(b"no table")
    for read in (read_parquet, count_parquet):
        with pytest.raises(ArtifactError, match="cannot be read as parquet"):
            read(path)


def test_the_tables_of_an_outcome_are_those_of_its_verdicts(tmp_path, monkeypatch):
    from surgeon.evaluation import finished

    outcome = evaluate(*data(70), MANY[:2], store=Store(tmp_path / "attacks"))
    monkeypatch.setattr(finished, "model_info", lambda found: {})
    monkeypatch.setattr(finished, "seal", lambda *_, **more: None)

    class Found:
        @staticmethod
        def model_dump(mode):
            return {}

    write_assessment(tmp_path, Found, outcome, [])
    rows = read_parquet(tmp_path / "verdicts.parquet")
    assert rows == list(outcome.rows()) and list(rows[0]) == list(COLUMNS)
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 1 + len(rows)


def test_no_flipped_bit_of_a_table_gives_other_rows(tmp_path):
    path, rows = tmp_path / "t.parquet", [{"label": k, "margin": k / 7} for k in range(40)]
    write_parquet(path, {"label": "int64", "margin": "float64"}, rows)
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            read = read_parquet(path)
        except ArtifactError:
            continue
        names = [
            n for row in read[:1] for n in row
        ]  # the names of columns have no sum, and are asked by what reads
        assert [list(r.values()) for r in read] == [list(r.values()) for r in rows] or names != [
            "label",
            "margin",
        ]


def test_a_table_of_other_columns_is_told_by_its_name(tmp_path):
    write_parquet(tmp_path / "t.parquet", {"label": "int64"}, [{"label": 1}])
    with pytest.raises(ArtifactError, match=r"t\.parquet is damaged, or is no table of Verdict: .*example"):
        read_rows(tmp_path / "t.parquet", Verdict)


def test_outcomes_that_were_joined_are_refused():
    model, x, y = data(32)
    halves = [evaluate(model, x[part], y[part], MANY) for part in (slice(0, 16), slice(16, 32))]
    with pytest.raises(ArgumentError, match=r"image 0 has 2 verdicts as it is.*\(examples=\)"):
        summarize(Outcome(tuple(v for h in halves for v in h), MANY))
    parts = [slice(0, 16), slice(16, 32)]
    named = [evaluate(model, x[p], y[p], MANY, examples=range(p.start, p.stop)) for p in parts]
    whole = summarize(Outcome(tuple(v for h in named for v in h), MANY))
    assert (whole.clean.n, whole.worst.k) == (32, sum(summarize(h).worst.k for h in named))
    with pytest.raises(ArgumentError, match="no verdicts of the images as they are"):
        summarize(Outcome(tuple(v for v in halves[0] if v.attack != "none"), MANY))


def test_images_of_another_order_have_no_adversarial_ones(tmp_path):
    model, x, y = data(16)
    outcome = evaluate(model, x, y, MANY, store=Store(tmp_path, keep=True))
    assert adversarial_images(tmp_path, outcome, x).shape == x.shape
    with pytest.raises(DataError, match="16 of 16 images are not those of the outcome, the first is image 0"):
        adversarial_images(tmp_path, outcome, x.flip(0))


def changed(path, change):
    """Write a block again with other rows, as a hand would."""
    rows = change(read_parquet(path))
    write_parquet(path, COLUMNS, rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: [{**v, "success": not v["success"]} for v in r], "contradicts itself: success="),
        (
            lambda r: [{**v, "prediction": (v["label"] if v["success"] else v["label"] + 1)} for v in r],
            "contradicts",
        ),
        (lambda r: [{**v, "votes": 1 - v["votes"]} for v in r], "contradicts itself"),
        (lambda r: r[1:], "has no verdict on image"),
        (lambda r: [*r, r[0]], "has two verdicts on one image"),
        (
            lambda r: [{**v, "example": v["example"] + 64} for v in r],
            "not of a0 linf 0.05 on an image of this block",
        ),
        (lambda r: [{**v, "eps": 0.9} for v in r], "not of a0 linf 0.05"),
    ],
)
def test_a_block_that_was_changed_by_hand_is_refused_with_its_file(tmp_path, change, words):
    model, x, y = data(16)
    whole = evaluate(model, x, y, MANY, store=Store(tmp_path))
    assert same(evaluate(model, x, y, MANY, store=Store(tmp_path)), whole)
    path = sorted((tmp_path / "blocks").iterdir())[0]
    changed(path, change)
    with pytest.raises(ArtifactError, match=rf"(?s){re.escape(str(path))}.*{words}"):
        list(evaluate(model, x, y, MANY, store=Store(tmp_path)))


def test_a_verdict_says_one_thing_also_of_draws_and_targets():
    shared = dict(example=0, image="", label=0, clean=0, margin=1.0, attack="pgd")
    for success, prediction, votes in [
        (False, 0, 1),
        (True, 1, 0),
        (True, 0, 0.4),
        (True, 0, 0.5),
        (True, 1, 0.5),
    ]:
        assert Verdict(success=success, prediction=prediction, votes=votes, **shared).success is success
    for success, prediction, votes in [
        (False, 1, 1),
        (True, 1, 1),
        (True, 0, 0),
        (False, 0, 0.5),
        (False, 1, 0.6),
    ]:
        with pytest.raises(ValueError, match="contradicts itself"):
            Verdict(success=success, prediction=prediction, votes=votes, **shared)
