"""Charts: which there are, what their points say, and that a line keeps its colour."""

import re
import warnings

import pytest

from surgeon.report import read_run
from surgeon.report.charts import Series, line_chart
from surgeon.report.curves import attack_charts, certified_charts, noise_charts
from tests.report.parsed import Page

pytest.importorskip("matplotlib")


def share(k, n=40):
    from surgeon.evaluation import wilson

    return wilson(k, n)


def points(svg):
    return [e.attributes for e in Page(svg).of(class_="point")]


def swept(run, sizes, **more):
    """A run whose worst case and FGSM were taken at these sizes, in Linf."""
    from surgeon.results.rows import Row
    from surgeon.results.summary import Worst
    from surgeon.results.threat import Threat

    rows, worsts = [], []
    for k, eps in enumerate(sizes):
        given = {"norm": "linf", "eps": eps, "group": "standard"}
        one = share(30 - 2 * k)
        rows.append(
            Row(
                attack="fgsm",
                cascade=False,
                seeds=(0,),
                shares=(one,),
                mean=one.value,
                of_right=None,
                **given,
            )
        )
        worsts.append(Worst(seed=0, share=share(20 - 2 * k), **given))
    main = Threat("standard", "linf", sizes[0], 0)
    summary = run.found.summary.model_copy(
        update={"rows": tuple(rows), "worsts": tuple(worsts), "main": main}
    )
    return type(run)(
        more.get("name", run.name),
        run.folder,
        run.found.model_copy(update={"summary": summary, "diagnosis": None}),
        {},
    )


@pytest.mark.parametrize("count", [1, 2, 12, 13, 201])
def test_every_point_has_its_numbers_and_one_is_reached_by_tab(count):
    series = [
        Series(n, tuple((k / 10, share((k + j) % 41)) for k in range(count)), j) for j, n in enumerate("ab")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = points(line_chart("c", series, title="t", x_label="x"))
    expected = [s.told(*p) for s in series for p in s.points]
    assert [p["data-told"] for p in found] == [p["aria-label"] for p in found] == expected
    assert expected[0] == "a, at 0: 0.0 % [0.0–8.8], 0 of 40 images"
    assert [p["tabindex"] for p in found] == ["0"] + ["-1"] * (2 * count - 1)


@pytest.mark.parametrize("aside", [False, True])
def test_points_lie_where_their_numbers_are(aside):
    series = [Series("a", ((0, share(0)), (1, share(20)), (2, share(40))))]
    series += [Series("b", ((0, share(0)), (1, share(20)), (2, share(40))), 1)] * aside
    found = points(line_chart("c", series, title="t", x_label="x"))
    x, y = ([float(p[a]) for p in found[:3]] for a in "xy")
    assert x[1] - x[0] == pytest.approx(x[2] - x[1]) and x[1] > x[0] + 50
    assert y[0] - y[1] == pytest.approx(y[1] - y[2]) and y[0] > y[1] + 50
    if aside:
        other = [float(p["x"]) - float(found[i]["x"]) for i, p in enumerate(found[3:])]
        assert other == pytest.approx([3.5] * 3), "lines that agree must not hide each other"


def test_nothing_to_draw_is_no_chart():
    assert (
        line_chart("c", [], title="t", x_label="x")
        == line_chart("c", [Series("a", ())], title="t", x_label="x")
        == ""
    )


def test_six_runs_have_six_colours_and_the_seventh_is_dashed():
    series = [Series(f"run {k}", ((0, share(k)), (1, share(k))), k) for k in range(7)]
    svg = line_chart("c", series, title="t", x_label="x")
    assert [f"var(--line-{k})" in svg for k in range(7)] == [True] * 6 + [False]
    assert (
        svg.count("stroke-dasharray")
        > 0
        == line_chart("c", series[:6], title="t", x_label="x").count("stroke-dasharray")
    )
    assert not re.search("#0[0-9a-f]{5}", svg), "a colour that the page's style does not rule"


def test_attack_curves_begin_at_the_clean_images(runs):
    stock = read_run(runs["stock"])
    worst, fgsm = attack_charts([swept(stock, (4 / 255, 8 / 255))])
    clean = stock.found.summary.clean
    assert (worst.title, fgsm.title) == ("Worst case, L∞", "fgsm, L∞") and worst.x_label == "ε, of 255"
    assert worst.series[0].points == ((0, clean), (4, share(20)), (8, share(18)))
    assert fgsm.series[0].points == ((0, clean), (4, share(30)), (8, share(28)))
    assert attack_charts([swept(stock, (0.05, 0.1))])[0].x_label == "ε, in [0, 1] pixels"
    zero = attack_charts([swept(stock, (0.0, 8 / 255))])[0]
    assert zero.series[0].points == ((0, share(20)), (8, share(18))), "what was measured at 0 stays"
    assert attack_charts([swept(stock, (8 / 255,))]) == []


def test_diagnostics_give_a_curve_where_there_is_one_size_only(runs):
    stock = read_run(runs["stock"])
    (chart,) = attack_charts([stock, read_run(runs["defective"])])
    (measured,) = [c.measured for c in stock.found.diagnosis.checks if c.code == "eps-curve"]
    (series,) = chart.series
    assert [level for level, _ in series.points] == [4, 8, 16, 32, 64]
    assert [s.value for _, s in series.points] == pytest.approx(list(measured.values()))


def test_a_run_keeps_its_line_on_the_whole_page(runs):
    both = [read_run(runs["kap"]), read_run(runs["stock"])]
    for chart in (*noise_charts(both), *certified_charts(both)):
        assert [(s.name.split(",")[0], s.line) for s in chart.series] == [("stock", 1)]
    gaussian, uniform, patches = noise_charts(both)
    clean, curves = both[1].found.summary.clean, both[1].found.curves
    assert gaussian.series[0].points == ((0.0, clean), *((p.level, p.share) for p in curves[0].points))
    assert [level for level, _ in patches.rows] == [1, 2, 4] and uniform.rows[1][1] == [
        curves[1].points[0].share
    ]
