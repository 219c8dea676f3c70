"""Columns: what is read off a run, what is refused, and how two rows are compared where images are not known."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from surgeon.errors import ArgumentError
from surgeon.pipeline.runs_of_protocol import settings_of
from surgeon.protocol import Claim, Column, Measured, Ran, load_protocol, measured
from surgeon.protocol.differences import difference_of, newcombe
from surgeon.protocol.markdown import measure
from surgeon.protocol.reproduction import answered
from surgeon.results.assessment import NoiseRow
from surgeon.results.statistics import wilson
from surgeon.results.threat import Threat

pytest.importorskip("scipy")

HASHES = json.loads((Path(__file__).parent / "hashes.json").read_text(encoding="utf-8"))


def verdict(example, attack, success, *, eps=1.0, seed=0, source=None, group="standard", norm="l2"):
    return dict(
        example=example,
        attack=attack,
        success=success,
        group=group,
        norm=norm,
        eps=eps,
        seed=seed,
        source=source,
    )


CLEAN = [verdict(e, "none", e == 3, eps=None, group="") for e in range(4)]


@pytest.mark.parametrize("row", HASHES)
def test_a_new_field_leaves_the_hash_of_runs_that_were_made_without_it(row):
    name, row_name = row.split("|")
    assert settings_of(load_protocol(name), "small", row_name).startswith(HASHES[row])


def test_a_transferred_attack_is_told_from_the_same_attack_on_the_network_itself():
    rows = CLEAN + [verdict(e, "pgd", True) for e in range(3)]
    rows += [verdict(e, "pgd", e == 0, source="NT") for e in range(3)]
    one = Column(of="attack", attack="pgd")
    assert measured(one, None, rows).right == "0000"
    transferred = one.model_copy(update={"source": "NT"})
    assert measured(transferred, None, rows, row="KAP").right == "0110"
    assert measured(transferred, None, rows, row="NT") is None
    with pytest.raises(ArgumentError, match="no pgd of that size on AT"):
        measured(one.model_copy(update={"source": "AT"}), None, rows, row="KAP")


def test_of_an_attack_with_several_seeds_the_first_counts_alone():
    rows = CLEAN + [verdict(e, "pgd", False, seed=1) for e in range(3)]
    rows += [verdict(e, "pgd", True, seed=2) for e in range(3)]
    assert measured(Column(of="attack", attack="pgd"), None, rows).right == "1110"


def test_the_worst_case_of_another_size_is_of_that_size_and_is_refused_where_it_was_not_run():
    found = SimpleNamespace(summary=SimpleNamespace(main=Threat("standard", "l2", 1.0, 0)))
    rows = CLEAN + [verdict(e, "apgd-ce", True) for e in range(3)]
    rows += [verdict(e, "apgd-ce", e == 0, eps=0.5) for e in range(3)]
    rows += [verdict(e, "pgd", True, eps=0.5, group="paper") for e in range(3)]
    assert measured(Column(of="itself"), found, rows).right == "0000"
    assert measured(Column(of="itself", eps=0.5), found, rows).right == "0110"
    with pytest.raises(ArgumentError, match=r"did not run at this size; it ran apgd-ce l2 0.5, apgd-ce l2 1"):
        measured(Column(of="itself", eps=0.25), found, rows)


def test_an_image_is_certified_where_its_class_is_right_and_its_radius_is_reached():
    made = [(0, 1, 0.5), (1, 1, 0.49), (2, 0, 0.9), (3, -1, 0.0)]
    rows = [dict(example=e, label=1, prediction=p, radius=r, sigma=0.25) for e, p, r in made]
    assert (
        measured(Column(of="certified", sigma=0.25, level=0.5), None, [], certificates=rows).right == "1000"
    )
    assert (
        measured(Column(of="certified", sigma=0.25, level=0.0), None, [], certificates=rows).right == "1100"
    )
    with pytest.raises(ArgumentError, match=r"certify: \[0.5\]"):
        measured(Column(of="certified", sigma=0.5, level=0.0), None, [], certificates=rows)


def test_noise_on_adversarial_images_is_told_apart_by_its_place():
    places = {
        "nowhere": (False, False),
        "input": (True, False),
        "activations": (False, True),
        "both": (True, True),
    }
    rows = [
        NoiseRow(input_noise=i, activation_noise=a, sigma=0.1, share=wilson(k, 9))
        for k, (i, a) in enumerate(places.values())
    ]
    found = SimpleNamespace(noise=rows)
    assert [measured(Column(of="noise", at=p), found, []).share.k for p in places] == [0, 1, 2, 3]
    with pytest.raises(ArgumentError, match="keep: true"):
        measured(Column(of="noise", at="input"), SimpleNamespace(noise=()), [])


def test_under_an_attack_for_the_smallest_distance_an_image_stands_that_is_turned_beyond_the_size():
    far = {0: 0.1, 1: 0.25, 2: 0.5}
    rows = CLEAN + [
        verdict(e, "hopskipjump", True, eps=None) | {"l2": d, "linf": 9.0} for e, d in far.items()
    ]
    one = Column(of="attack", attack="hopskipjump", norm="l2", eps=0.25)
    assert measured(one, None, rows).right == "0010"
    assert measured(one.model_copy(update={"eps": 0.05}), None, rows).right == "1110"
    with pytest.raises(ArgumentError, match="no hopskipjump of that size"):
        measured(one.model_copy(update={"norm": "linf"}), None, rows)
    distance = Column(of="distance", attack="hopskipjump", norm="l2")
    assert measured(distance, None, rows).value == pytest.approx(
        (0.1 + 0.25) / 2
    )  # the fourth is wrong as it is: 0
    standing = [r | {"success": False} if r["attack"] != "none" else r for r in rows]
    assert measured(distance, None, standing) is None
    with pytest.raises(ArgumentError, match="smallest distance in linf"):
        measured(distance.model_copy(update={"norm": "linf"}), None, rows)


def test_what_is_measured_at_a_layer_is_handed_over():
    column = Column(of="deviation", layer="conv1")
    assert measured(column, None, [], layers={column: 0.25}) == Measured(value=0.25)


def test_times_are_no_shares():
    found = SimpleNamespace(subject=SimpleNamespace(images_per_second=640.0))
    assert measured(Column(of="batch"), found, []).time == pytest.approx(100.0)
    assert measured(Column(of="epoch"), None, [], epoch=14.5) == Measured(time=14.5)
    assert measured(Column(of="epoch"), None, []) is None


@pytest.mark.parametrize(
    "content, said",
    [
        ({"of": "clean", "source": "NT"}, "source"),
        ({"of": "certified", "level": 0.5}, "sigma"),
        ({"of": "noise"}, "at=PLACE"),
        ({"of": "worst", "eps": 0.5}, "itself"),
        ({"of": "epoch", "error": True}, "time"),
        ({"of": "deviation"}, "layer=NAME"),
        ({"of": "clean", "layer": "conv1"}, "layer=NAME"),
        ({"of": "deviation", "layer": "conv1", "error": True}, "number"),
        ({"of": "gradient-similarity", "layer": "conv1", "classes": [0]}, "classes"),
        ({"of": "distance", "attack": "hopskipjump"}, "norm"),
        ({"of": "distance", "attack": "hopskipjump", "norm": "l2", "eps": 1.0}, "eps"),
        ({"of": "distance", "norm": "l2"}, "attack=NAME"),
    ],
)
def test_a_column_that_does_not_fit_together_is_refused(content, said):
    with pytest.raises(ValidationError, match=said):
        Column.model_validate(content)


def test_images_that_do_not_add_up_to_the_share_are_refused():
    with pytest.raises(ValidationError, match="add up"):
        Measured(share=wilson(3, 4), right="1100")
    with pytest.raises(ValidationError, match="only one of these"):
        Measured(share=wilson(3, 4), time=1.0)
    with pytest.raises(ValidationError, match="only one of these"):
        Measured()


def test_two_shares_have_the_interval_of_newcombe():
    # Newcombe 1998, Table II: 56/70 and 48/80, method 10.
    found = newcombe(wilson(48, 80), wilson(56, 70))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def shares(row, seed, k, n=400):
    return Ran(
        row=row,
        seed=seed,
        settings="s",
        tested="t",
        columns={"clean": Measured(share=wilson(k, n))},
        reliable=True,
        headline=True,
    )


@pytest.mark.parametrize(
    "k, answer", [(300, "holds"), (205, "not decided at this budget"), (100, "does not hold")]
)
def test_a_claim_on_a_curve_is_answered_by_its_shares(k, answer):
    claim = Claim(text="it is better", row="kap", against="stock", column="clean")
    found = answered(claim, [r for s in (0, 1) for r in (shares("kap", s, k), shares("stock", s, 200))])
    assert (found.answer, found.seeds) == (answer, 2) and found.difference.pairs == ()
    assert found.difference.mean == pytest.approx((k - 200) / 400)


def test_more_seeds_do_not_narrow_the_interval_of_one_and_unequal_seeds_widen_it():
    one = (Measured(share=wilson(200, 400)), Measured(share=wilson(240, 400)))
    other = (Measured(share=wilson(240, 400)), Measured(share=wilson(200, 400)))
    single, many, torn = difference_of([one]), difference_of([one] * 3), difference_of([one, other])
    assert many.high - many.low == pytest.approx(single.high - single.low)
    assert torn.low < -0.5 and torn.high > 0.5 and torn.mean == pytest.approx(0)
    assert difference_of([]) is None and difference_of([(Measured(time=1.0), Measured(time=2.0))]) is None


def number(row, seed, **values):
    columns = {name: Measured(value=value) for name, value in values.items()}
    return shares(row, seed, 1).model_copy(update={"columns": columns})


ALIKE = Claim(text="classes differ", row="net", against="net", column="same", than="others")


def test_two_columns_of_a_row_are_compared_over_seeds():
    runs = [number("net", s, same=0.5 + 0.01 * s, others=0.1 - 0.01 * s) for s in range(3)]
    found = answered(ALIKE, runs, unit="")
    # Differences 0.40, 0.42, 0.44: Student's half width at two degrees of freedom is 4.303 · 0.02 / √3.
    assert found.difference.mean == pytest.approx(0.42)
    assert found.difference.high - 0.42 == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-4)
    assert (found.answer, found.seeds) == ("holds", 3)
    assert measure(found) == "; net, same less others: +0.42 [+0.37, +0.47] over 3 seeds"
    asked = ALIKE.model_copy(update={"margin": 0.5})
    assert answered(asked, runs, unit="").answer == "does not hold"


def test_a_number_of_one_seed_decides_nothing():
    found = answered(ALIKE, [number("net", 0, same=0.9, others=0.1)], unit="")
    assert (found.answer, found.difference) == ("not decided at this budget", None)
    assert measure(found).endswith("one seed has no interval")
    assert measure(answered(ALIKE, [], unit="")).endswith("not measured")


@pytest.mark.parametrize(
    "same, margin, answer",
    [
        (-0.5, 0.0, "holds"),
        (0.9, 0.0, "holds"),
        (-0.5, 0.7, "does not hold"),
        (-0.5, 0.58, "not decided at this budget"),
    ],
)
def test_a_claim_that_two_figures_differ_has_no_direction(same, margin, answer):
    runs = [number("net", s, same=same + 0.01 * s, others=0.1) for s in range(3)]
    claim = ALIKE.model_copy(update={"differ": True, "margin": margin})
    assert answered(claim, runs, unit="").answer == answer
