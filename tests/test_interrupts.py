"""Signals: at once, or when the work asks; what they say, and that all is as it was afterwards."""

import os
import signal
import threading

import pytest

import surgeon
from surgeon import interrupts, surgery
from surgeon.interrupts import Stopped, asked, check, deferred, handled
from tests.started import Started, command_line


@pytest.fixture(autouse=True)
def heard():
    """SIGINT as a terminal's programs have it: a test suite in the background of a script ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as error, handled():
        send(number)
    assert error.value.exit_code == 128 + number and signal.getsignal(number) is before
    assert str(error.value) == f"stopped by {signal.Signals(number).name}: nothing was written"
    error.value.kept, error.value.at = "runs/x", "up to epoch 3"
    assert "runs/x keeps what was finished, up to epoch 3; the same command goes on" in str(error.value)


def test_deferred_it_waits_until_it_is_asked_for(monkeypatch):
    done = []
    with handled(), pytest.raises(Stopped):
        with deferred():
            send(signal.SIGTERM)
            send(signal.SIGTERM)  # of a launcher that sends its own
            done.append(asked())
            with deferred():
                pass
            done.append("step")
            check()
            done.append("never")
    assert done == [signal.SIGTERM, "step"] and asked() is None
    with handled(), pytest.raises(Stopped):
        with deferred():
            send(signal.SIGINT)
            done.append("end")
        done.append("never")
    assert done[-1] == "end"
    monkeypatch.setattr(interrupts, "_SAME", 0.0)
    with handled(), pytest.raises(Stopped), deferred():
        send(signal.SIGINT)
        send(signal.SIGINT)  # somebody does not want to wait
        done.append("never")
    assert "never" not in done


def test_what_is_ignored_stays_ignored_and_other_threads_touch_nothing():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a command in the background of a script
    try:
        with handled():
            send(signal.SIGINT)
        found = []
        thread = threading.Thread(target=lambda: found.append(handled().__enter__()))
        thread.start()
        thread.join()
        assert found == [None] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_cannot_go_on_says_that_nothing_was_written(tmp_path, number):
    done = Started(stopped, str(int(number)), f"{tmp_path}/out")
    assert done.wait(300) == 128 + number, done.said()
    assert done.said() == f"stopped by {number.name}: nothing was written\n"
    assert os.listdir(tmp_path) == []


def stopped(number, folder):
    """`surgeon apply`, into which the signal comes."""
    surgeon.apply = surgery.apply = lambda *_, **__: send(int(number))
    command_line("apply", "kap", "test_resnet", "-o", folder)
