"""Every share that README and docs state has its command, or the reason why none is run; what differs is told."""

from pathlib import Path

import pytest

from experiments.claims import Claim, Claims, Figure, Left, compared, covered, printed_by, read

ROOT = Path(__file__).parents[1]
PAGES = [Path("README.md"), *sorted(p.relative_to(ROOT) for p in (ROOT / "docs").rglob("*.md"))]
CLAIMS = read()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_measured_share_of_a_page_is_claimed_or_left_with_a_reason(page):
    assert covered(CLAIMS, page.as_posix(), (ROOT / page).read_text(encoding="utf-8")) == []


def test_figures_and_commands_stand_in_their_pages():
    for claim in CLAIMS.claims:
        text = (ROOT / claim.page).read_text(encoding="utf-8")
        for command in claim.commands:
            assert command in text, command
        for figure in claim.figures:
            assert figure.stands in text and f"{figure.stated:g}" in figure.stands, figure


FIGURE = Figure(stands="accuracy 96.4 %", stated=96.4, prints=r"accuracy ([\d.]+) %", within=2.0)


@pytest.mark.parametrize(
    "printed, value, agrees",
    [
        ("accuracy 12.0 %\naccuracy 94.4 %", 94.4, True),  # the last counts
        ("accuracy 94.3 %", 94.3, False),
        ("accuracy 98.5 %", 98.5, False),
        ("it failed", None, False),
    ],
)
def test_a_figure_agrees_within_its_interval(printed, value, agrees):
    (found,) = compared([FIGURE], printed)
    assert (found.printed, found.agrees) == (value, agrees)
    assert "96.4 ± 2 is stated" in str(found)


def test_a_line_that_nobody_claims_is_told():
    text = "accuracy 96.4 %\nand 12.5 % else\nfrom here 1.0 %\n2.0 %\nto here 3.0 %\nno share: 3 %"
    claims = Claims(claims=(Claim(page="a.md", commands=("surgeon x",), minutes=1, figures=(FIGURE,)),))
    assert covered(claims, "a.md", text) == text.splitlines()[1:5]
    left = Left(page="a.md", begins="from here", ends="to here", why="w")
    more = claims.model_copy(update={"left": (left,)})
    assert covered(more, "a.md", text) == ["and 12.5 % else"]


def test_commands_are_run_in_one_folder_until_one_fails():
    write = "python -c \"open('x', 'w').write('7')\""
    show = "python -c \"print('accuracy', open('x').read(), '%')\""
    fail = 'python -c "raise SystemExit(3)"'
    printed = printed_by([write, show, fail, show])
    assert printed.count("accuracy 7 %") == 1 and "ended with 3" in printed
