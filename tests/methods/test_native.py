"""Compiled code for the CPU: made once, kept where nobody else writes, and never wrong in silence."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import warnings

import pytest
import torch

from surgeon.methods.adversarial_noise import cpu as adversarial_cpu
from surgeon.methods.kap import cpu as kap_cpu
from surgeon.methods.weight_map import cpu
from surgeon.tensors import native, normal

pytestmark = pytest.mark.skipif(
    native.turned_off()
    or native._compiler() is None
    or torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    or sys.platform != "linux",
    reason="nothing can be compiled here",
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(native.SWITCH, raising=False)
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }\n")
    return path


def libraries(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.so"))


def test_it_is_compiled_once_and_kept(source, tmp_path, monkeypatch):
    assert native.compiled(source).seven() == 7
    (kept,) = libraries(tmp_path)
    assert not kept.stat().st_mode & 0o077 and not kept.parent.stat().st_mode & 0o077
    monkeypatch.setattr(native, "_compiler", lambda: None)
    assert native.compiled(source).seven() == 7
    source.write_text("int seven(void) { return 8; }\n")
    assert native.compiled(source) is None  # another source is another library


@pytest.mark.parametrize("value", ["off", "0", "OFF", "no", "false"])
def test_it_can_be_turned_off(source, tmp_path, monkeypatch, value):
    monkeypatch.setenv(native.SWITCH, value)
    assert native.compiled(source) is None and not libraries(tmp_path)


def test_without_a_compiler_there_is_none(source, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    assert native.compiled(source) is None
    monkeypatch.delenv("CC")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native.compiled(source) is None


def test_a_compiler_that_fails_is_named_with_what_it_said(source, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(OSError, match="false ended with 1"):
        native.compiled(source)
    monkeypatch.delenv("CC")
    source.write_text("int seven(void) { return }\n")
    with pytest.raises(OSError, match="ended with 1: .*seven.c:1:.*error"):
        native.compiled(source)
    assert not libraries(tmp_path)


def test_a_library_that_was_changed_is_not_loaded(source, tmp_path, monkeypatch):
    native.compiled(source)
    (kept,) = libraries(tmp_path)
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.unlink()  # this process has the old one mapped
    kept.write_bytes(data)
    monkeypatch.setattr(native, "_compiler", lambda: None)
    assert native.compiled(source) is None
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert native.compiled(source).seven() == 7


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_others_may_write_to_is_not_loaded(source, tmp_path, monkeypatch, what):
    native.compiled(source)
    (kept,) = libraries(tmp_path)
    (kept if what == "file" else kept.parent).chmod(0o777)
    opened = []
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda path: opened.append(path) or load(path))
    assert native.compiled(source).seven() == 7
    assert opened and str(kept) not in opened


def test_a_link_is_not_loaded(source, tmp_path, monkeypatch):
    native.compiled(source)
    (kept,) = libraries(tmp_path)
    kept.rename(tmp_path / "elsewhere.so")
    kept.symlink_to(tmp_path / "elsewhere.so")
    monkeypatch.setattr(native, "_compiler", lambda: None)
    assert native.compiled(source) is None


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(source, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file\n")
    assert native.compiled(source).seven() == 7
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(native.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert native.compiled(source).seven() == 7
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(native.Path, "home", lambda: tmp_path / "home")
    assert native.compiled(source).seven() == 7
    assert list((tmp_path / "home" / ".cache" / "surgeon" / "native").glob("seven-*.so"))
    monkeypatch.setattr(
        native.Path, "replace", lambda *paths: (_ for _ in ()).throw(OSError("No space left on device"))
    )
    monkeypatch.setattr(native.Path, "home", lambda: tmp_path / "full")
    assert native.compiled(source).seven() == 7
    assert not list((tmp_path / "full" / ".cache" / "surgeon" / "native").iterdir())


def test_several_at_once(source, tmp_path):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(native.compiled(source).seven())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [7] * 4
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".so"]


def test_options_in_the_compilers_name_are_left_out(source, monkeypatch):
    steps, run = [], native._run
    monkeypatch.setattr(native, "_run", lambda step: steps.append(step) or run(step))
    monkeypatch.setenv("CC", f"{native._compiler()[0]} -ffast-math")
    assert native.compiled(source).seven() == 7
    assert steps and not any("-ffast-math" in step for step in steps)
    monkeypatch.setenv("CC", 'gcc "')
    source.write_text("int seven(void) { return 8; }\n")
    with pytest.raises(OSError, match="is not a command: No closing quotation"):
        native.compiled(source)


def test_a_library_that_cannot_be_loaded_here_is_made_anew(source, tmp_path, monkeypatch):
    native.compiled(source)
    (kept,) = libraries(tmp_path)
    load, refused = ctypes.CDLL, []

    def loads(path):
        if "surgeon/native" in path:  # a place that nothing is run from
            refused.append(path)
            raise OSError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(ctypes, "CDLL", loads)
    assert native.compiled(source).seven() == 7
    assert refused[0] == str(kept) and len(refused) > 1


def test_what_a_killed_process_left_is_removed(source, tmp_path):
    native.compiled(source)
    (kept,) = libraries(tmp_path)
    old, new = (kept.parent / f"{native._BUILDING}{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
        (left / "code.o").write_text("")
    os.utime(old, (0, 0))
    native.compiled(source)
    assert not old.exists() and new.exists()


def test_a_compiler_that_makes_nothing_is_named(source, monkeypatch):
    monkeypatch.setenv("CC", "true")
    with pytest.raises(OSError, match="true made no file"):
        native.compiled(source)


def test_a_layer_without_it_says_why_and_works(source, monkeypatch):
    monkeypatch.setenv("CC", "false")
    cpu.library.cache_clear()
    try:
        with pytest.warns(
            UserWarning, match="weight maps run without compiled code, which is slower, .* SURGEON_NATIVE=off"
        ):
            assert cpu.library() is None
        x, weight = torch.randn(8, 2, 3, 3), torch.randn(3, 3, 2, 2).permute(3, 2, 0, 1)
        assert not cpu.takes(x, weight, None, 1)
    finally:
        cpu.library.cache_clear()


@pytest.mark.parametrize("module", [cpu, kap_cpu, adversarial_cpu, normal])
@pytest.mark.parametrize(
    "state",
    [
        lambda: torch.device("meta"),
        lambda: torch.inference_mode(),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
)
def test_what_torch_makes_by_default_changes_no_library(module, state):
    with warnings.catch_warnings(), state():
        warnings.simplefilter("error")
        assert module.library.__wrapped__()


@pytest.mark.parametrize("module", [cpu, kap_cpu, adversarial_cpu, normal])
def test_another_default_of_numbers_changes_no_library(module):
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert module.library.__wrapped__()
    finally:
        torch.set_default_dtype(torch.float32)


def test_where_torch_shows_no_openmp_another_is_linked(source, tmp_path, monkeypatch):
    source.write_text("int from_elsewhere(void);\nint seven(void) { return from_elsewhere(); }\n")
    linked, run = [], native._run
    monkeypatch.setattr(native, "_run", lambda step: linked.append(step) or run(step))
    with pytest.raises(OSError, match="from_elsewhere"):
        native.compiled(source)
    assert [step.count("-fopenmp") for step in linked[1:3]] == [0, 1] and not libraries(tmp_path)


def test_one_openmp_serves_torch_and_the_library():
    code = (
        "import torch; from surgeon.methods.weight_map import cpu; assert cpu.library()\n"
        "maps = {line.split()[-1] for line in open('/proc/self/maps') if 'omp' in line.rsplit('/', 1)[-1]}\n"
        "assert len(maps) <= 1, maps"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
