"""Normal numbers by compiled code: torch's own, up to rounding, and the stream where torch leaves it."""

import math
import os
import subprocess
import sys
import threading

import pytest
import torch

from surgeon.tensors import normal
from surgeon.tensors.gaussian import add_noise

needs_library = pytest.mark.skipif(normal.library() is None, reason="nothing can be compiled here")
MANY = normal._FEWEST
LARGEST = math.sqrt(2 * 24 * math.log(2))
"""The largest radius that 24 bits give."""


def streams(seed, drawn_before=0):
    both = [torch.Generator().manual_seed(seed) for _ in range(2)]
    for stream in both:
        torch.empty(drawn_before).uniform_(generator=stream)
    return both


@needs_library
@pytest.mark.parametrize("count", [MANY, MANY + 1, MANY + 15, MANY + 16, 3 * MANY + 623, 9 * 624 * 16])
@pytest.mark.parametrize("before", [0, 1, 622, 623, 624, 625])
def test_the_numbers_are_torchs_and_so_is_the_state(count, before):
    one, two = streams(count + before, before)
    ours = normal.fill_normal(torch.empty(count), 0.3, one)
    theirs = torch.empty(count).normal_(0, 0.3, generator=two)
    # torch rounds the angle: up to 2π, half a unit in the last place of 4 to 8, times the radius
    assert (ours - theirs).abs().max() < 0.3 * LARGEST * 8 * torch.finfo(torch.float32).eps
    assert torch.equal(one.get_state(), two.get_state())
    assert torch.equal(torch.rand(99, generator=one), torch.rand(99, generator=two))


@needs_library
def test_they_are_as_exact_as_float32_is():
    one, two = streams(3)
    ours = normal.fill_normal(torch.empty(16 * 40_000), 1.0, one)
    u = torch.rand(16 * 40_000, generator=two).double().view(-1, 2, 8)
    radius, angle = (-2 * torch.log(1 - u[:, 0])).sqrt(), 2 * math.pi * u[:, 1]
    exact = torch.stack([radius * angle.cos(), radius * angle.sin()], 1).flatten()
    assert (ours - exact).abs().max() < 4 * torch.finfo(torch.float32).eps * LARGEST
    assert ours.abs().max() <= LARGEST


@needs_library
def test_the_ends_of_the_stream_are_finite():
    functions = normal.library()
    for word in (0, 2**32 - 1):  # tempered, they are 0 and numbers near 1
        twister = normal._Twister(next=0)
        for i in range(normal._WORDS):
            twister.words[i] = word
        out = torch.full((608,), torch.nan)
        functions["surgeon_normals"](twister, out.data_ptr(), 608, 1.0)
        assert torch.isfinite(out).all()


@needs_library
def test_torchs_global_stream_goes_on_as_it_would():
    torch.manual_seed(11)
    ours, next_of_ours = add_noise(torch.zeros(2, 3, 64, 64), 0.5), torch.rand(5)
    torch.manual_seed(11)
    theirs, next_of_theirs = torch.empty(2, 3, 64, 64).normal_(0, 0.5), torch.rand(5)
    assert torch.allclose(ours, theirs, atol=1e-5) and not torch.equal(ours, theirs)
    assert torch.equal(next_of_ours, next_of_theirs)


def test_noise_in_channels_last_is_drawn_as_it_lies():
    x = torch.randn(4, 8, 32, 32).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(2)
    noise = add_noise(x, 0.5) - x
    torch.manual_seed(2)
    rows = torch.empty(4, 32, 32, 8).normal_(0, 0.5)
    assert torch.allclose(noise, rows.permute(0, 3, 1, 2), atol=1e-5)
    assert add_noise(x, 0.5).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "noise",
    [
        torch.empty(15),
        torch.empty(MANY - 1),
        torch.empty(MANY, dtype=torch.float64),
        torch.empty(MANY, dtype=torch.bfloat16),
        torch.empty(4, 8, 32, 32).contiguous(memory_format=torch.channels_last),
        torch.empty(MANY * 2)[::2],
        torch._neg_view(torch.empty(MANY)),
    ],
    ids=lambda t: f"{t.dtype}, {tuple(t.shape)}, {t.stride()}",
)
def test_other_tensors_are_torchs_to_the_last_bit(noise):
    one, two = streams(1)
    assert not normal.takes(noise, one)
    ours = normal.fill_normal(noise, 0.3, one).clone()
    assert torch.equal(ours, noise.normal_(0, 0.3, generator=two))


def test_a_deviation_below_0_is_torchs_error():
    with pytest.raises(RuntimeError, match="std >= 0"):
        normal.fill_normal(torch.empty(MANY), -1.0)


def test_tensors_without_plain_memory_are_torchs():
    from torch._subclasses.fake_tensor import FakeTensorMode

    x, seen = torch.zeros(MANY), []
    torch.func.vmap(lambda z: seen.append(normal.takes(x, None)) or z)(x)
    with FakeTensorMode(allow_non_fake_inputs=True):
        seen.append(normal.takes(x, None))
    assert seen == [False, False] and not normal.takes(torch.empty(MANY, device="meta"), None)
    assert normal.takes(x, None)


@needs_library
def test_threads_take_different_numbers_out_of_one_stream():
    one, two = streams(5)
    drawn = []

    def draw():
        drawn.extend(normal.fill_normal(torch.empty(MANY), 1.0, one) for _ in range(8))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [normal.fill_normal(torch.empty(MANY), 1.0, two) for _ in range(32)]
    assert torch.equal(torch.cat(drawn).sort()[0], torch.cat(alone).sort()[0])


@needs_library
def test_what_is_drawn_from_the_stream_meanwhile_is_drawn_once(monkeypatch):
    functions, (one, two) = normal.library(), streams(9)
    meanwhile = []

    def interrupted(twister, to, count, sigma):
        functions["surgeon_normals"](twister, to, count, sigma)
        if not meanwhile:
            meanwhile.append(torch.rand(3, generator=one))

    monkeypatch.setattr(normal, "library", lambda: {"surgeon_normals": interrupted})
    ours = normal.fill_normal(torch.empty(MANY), 1.0, one)
    assert torch.equal(meanwhile[0], torch.rand(3, generator=two))
    assert torch.allclose(ours, torch.empty(MANY).normal_(generator=two), atol=1e-5)
    assert torch.equal(one.get_state(), two.get_state())


@needs_library
def test_a_handler_of_a_signal_may_draw_too():
    code = """
import signal, torch
from surgeon.tensors import normal
drawn = []
def handler(*_):
    drawn.append(normal.fill_normal(torch.empty(20000)))
    with normal._lock:
        pass
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for _ in range(300):
    normal.fill_normal(torch.empty(100_000))
signal.setitimer(signal.ITIMER_REAL, 0)
assert drawn
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@needs_library
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_while_another_thread_draws_leaves_the_child_free():
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            normal.fill_normal(torch.empty(50 * MANY))

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                threading.Thread(target=lambda: os._exit(not normal._lock.acquire(timeout=10))).start()
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


@needs_library
def test_other_numbers_are_not_used():
    functions = normal.library()
    assert normal.draws_as_torch(functions)

    def moved(twister, to, count, sigma):
        functions["surgeon_normals"](twister, to, count, sigma)
        twister._obj.next = (twister._obj.next + 1) % 624

    assert not normal.draws_as_torch({"surgeon_normals": lambda *args: None})
    assert not normal.draws_as_torch({"surgeon_normals": moved})
