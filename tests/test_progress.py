"""Progress as plain lines: heads, pace, a sign of life, nothing from other processes."""

import io
import time

import pytest

from surgeon import progress as module
from surgeon.numerals import duration, pace, percent, span, with_interval
from surgeon.progress import Lines, Silent, progress
from surgeon.results.statistics import wilson
from surgeon.training.progress import Lines as Epochs


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_each_line_has_the_label_and_a_part_tells_its_beginning_and_its_end(clock):
    file = io.StringIO()
    told = Lines("surgery, seed 0", file)
    told("attacks on blocks", 0, 400)
    clock[0] = 1.0
    told("attacks on blocks", 100, 400)  # too early for a line
    clock[0] = 20.0
    told("attacks on blocks", 200, 400)
    clock[0] = 40.0
    told("attacks on blocks", 400, 400)
    told("pictures", 0, 1)
    clock[0] = 130.0
    told("pictures", 1, 1)
    assert file.getvalue().splitlines() == [
        "surgery, seed 0: attacks on blocks, 400 in all",
        "surgery, seed 0: attacks on blocks: 200 of 400, 10 a second, 20 s left",
        "surgery, seed 0: attacks on blocks: 400 of 400, 40 s",
        "surgery, seed 0: pictures",
        "surgery, seed 0: pictures: done, 1 min 30 s",
    ]


def test_what_was_there_before_does_not_count_for_the_pace(clock):
    file = io.StringIO()
    told = Lines("", file)
    told("certificates", 90, 100)
    clock[0] = 30.0
    told("certificates", 91, 100)
    assert file.getvalue().splitlines()[-1] == "certificates: 91 of 100, 30 s each, 4 min 30 s left"


def test_a_line_comes_also_where_nothing_is_reported(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    file = io.StringIO()
    with Lines("lenet", file) as told:
        told("diagnostics", 0, 1)
        for _ in range(100):
            time.sleep(0.05)
            if "at it for" in file.getvalue():
                break
    assert "lenet: diagnostics: at it for " in file.getvalue()


def test_only_the_first_process_tells(monkeypatch, capsys):
    monkeypatch.setattr(module, "first", lambda: False)
    with progress("lenet") as told:
        told("attacks", 0, 1)
        told("attacks", 1, 1)
    assert type(told) is Silent and capsys.readouterr().err == ""


def test_a_long_epoch_tells_its_steps(clock, capsys):
    with Epochs("stock, seed 1", total=1000) as told:
        for _ in range(300):
            clock[0] += 0.125
            told.advance()
    assert capsys.readouterr().out.splitlines() == [
        "stock, seed 1: step 120 of 1000, 8.0 a second, 1 min 50 s left",
        "stock, seed 1: step 240 of 1000, 8.0 a second, 1 min 35 s left",
    ]


def test_numbers_are_written_one_way():
    assert percent(0.5218) == "52.2 %" and percent(1) == "100.0 %"
    assert span(0.1, 0.25) == "10.0 % to 25.0 %"
    assert with_interval(wilson(5, 10)) == "50.0 % [23.7 %, 76.3 %]"
    assert [duration(s) for s in (0.2, 45, 60, 200, 3600, 7500)] == [
        "0 s",
        "45 s",
        "1 min",
        "3 min 20 s",
        "1 h",
        "2 h 5 min",
    ]
    assert [pace(n, 1) for n in (100, 1234.5, 3.44, 1.0)] == [
        "100 a second",
        "1,234 a second",
        "3.4 a second",
        "1.0 a second",
    ]
    assert pace(1, 12) == "12 s each" and pace(0, 5) == ""
