"""A disk that is full: one error that names the file and the reason, no half of a file, and what was whole stays.

The kernel's own limit of a file's size stands for the full disk in most tests, since any process may set it; where the
process may mount one, a file system of two megabytes does.
"""

import contextlib
import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.disk.files import write_bytes, write_csv, write_json, write_parquet, write_text
from surgeon.disk.writing import make_folder, written
from surgeon.errors import ArtifactError, WritingError
from surgeon.recipe import Training
from surgeon.training import fit
from tests.cli.commandline import invoke

resource = pytest.importorskip("resource")


@contextlib.contextmanager
def room_for(size):
    """No file can grow beyond `size` bytes."""
    was, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def small(tmp_path):
    """A folder on a file system of its own, of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("this process may mount no file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


WRITERS = {
    "text": lambda p: write_text(p, "x" * 5000),
    "json": lambda p: write_json(p, ["x" * 5000]),
    "bytes": lambda p: write_bytes(p, b"x" * 5000),
    "csv": lambda p: write_csv(p, ["a"], [["x" * 50]] * 100),
    "parquet": lambda p: write_parquet(p, {"a": "string"}, [{"a": str(i) * 9} for i in range(5000)]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_names_the_file_and_the_reason_and_leaves_no_half(tmp_path, kind):
    pytest.importorskip("pyarrow")
    path = tmp_path / "it"
    with (
        room_for(1000),
        pytest.raises(WritingError, match=r"it could not be written: File too large; nothing of it was kept"),
    ):
        WRITERS[kind](path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("before")
    with room_for(1000), pytest.raises(WritingError, match="File too large; the one from before stays"):
        WRITERS[kind](path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]
    assert issubclass(WritingError, ArtifactError)


def test_errors_that_are_none_of_the_disks_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), written(tmp_path / "it") as beside:
        beside.write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def data():
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(32, 3, 8, 8, generator=generator), torch.arange(32) % 5)


@pytest.fixture
def run(tiny, tmp_path):
    """(a call that trains up to some epochs in one folder, the folder)."""
    pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    start = {k: v.clone() for k, v in tiny.state_dict().items()}

    def train(epochs, folder):
        tiny.load_state_dict(start)
        rows = fit(
            tiny,
            data(),
            data(),
            Training(epochs=epochs, batch_size=16, schedule="constant"),
            folder=folder,
            progress=False,
        )
        return [r.loss for r in rows]

    return train


SIZES = {"last or best weights": 5_000, "checkpoint": 20_000}
"""Bytes that hold the metrics and not the weights; and those, but no checkpoint (weights, momenta, best weights)."""


@pytest.mark.parametrize("what", SIZES)
def test_a_training_says_which_checkpoint_stays_and_goes_on_from_it(run, tmp_path, monkeypatch, what):
    from surgeon.training import loop

    folder, wanted = tmp_path / "run", run(3, tmp_path / "other")
    epoch = loop._Training._keep

    def filling(self, records):
        with room_for(SIZES[what]) if self.at.epoch == 2 else contextlib.nullcontext():
            epoch(self, records)

    monkeypatch.setattr(loop._Training, "_keep", filling)
    name = "checkpoint.pt" if what == "checkpoint" else r"(last|best).safetensors"
    with pytest.raises(
        WritingError,
        match=rf"run/{name} could not be written: File too large; the one from before stays; the "
        r"last complete checkpoint "
        r"stays \(epoch 1, step 0\): with more room, the same call goes on from there",
    ):
        run(3, folder)
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
    monkeypatch.undo()
    assert run(3, folder) == wanted


def test_a_training_without_a_checkpoint_yet_says_so(run, tmp_path):
    with (
        room_for(5_000),
        pytest.raises(WritingError, match="there is no checkpoint yet: the same call begins again"),
    ):
        run(1, tmp_path / "run")
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


def test_metrics_and_events_that_find_no_room(run, tmp_path):
    with (
        room_for(10),
        pytest.raises(WritingError, match=r"(metrics.csv|tensorboard) could not be written: File too large"),
    ):
        run(1, tmp_path / "run")


def test_a_full_file_system_and_then_room_again(run, small, tmp_path):
    wanted = run(2, tmp_path / "other")
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0" * 4096) == 4096:
            pass
    with pytest.raises(WritingError, match=r"could not be written: No space left on device"):
        run(2, small / "run")
    assert not list(small.rglob(".surgeon-*"))
    filler.unlink()
    assert run(2, small / "run") == wanted


def test_a_network_that_does_not_fit_names_where_it_should_have_been(tiny, tmp_path):
    with (
        room_for(1000),
        pytest.raises(
            ArtifactError,
            match=r"out/model.safetensors could not be written: File too large; nothing of it was kept",
        ),
    ):
        surgeon.save(tiny, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_file_that_does_not_fit(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 100)).eval()
    with (
        room_for(30_000),
        pytest.raises(ArtifactError, match=r"it.onnx could not be written: File too large"),
    ):
        surgeon.export(model, tmp_path / "it.onnx", input_size=(3, 8, 8), check=False)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_program_that_does_not_fit_is_one_line_and_not_the_end_of_the_process(tmp_path):
    """In a process of its own: torch's own writer ends it where its file cannot grow."""
    code = (
        "import resource, signal, torch, surgeon\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "m = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 100)).eval()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        f"try: surgeon.export(m, '{tmp_path}/it.pt2', format='torch-export', input_size=(3, 8, 8), check=False)\n"
        "except surgeon.SurgeonError as e: print('told:', e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"told: {tmp_path}/it.pt2 could not be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_that_finds_no_room_goes_on_where_it_stopped(tiny, tmp_path):
    pytest.importorskip("scipy")
    pytest.importorskip("pyarrow")
    from surgeon.evaluation import Attack, Store, evaluate

    attacks = [Attack(name="pgd", kind="own-pgd", eps=0.05, steps=2)]
    x, y = data()
    wanted = evaluate(tiny, x, y, attacks)
    store = Store(tmp_path / "e", keep=True)
    with (
        room_for(5_000),
        pytest.raises(WritingError, match=r"e/clean.parquet could not be written: File too large"),
    ):
        evaluate(tiny, x, y, attacks, store=store)
    assert not list(tmp_path.rglob(".surgeon-*"))
    found = evaluate(tiny, x, y, attacks, store=store)
    assert [v.model_copy(update={"seconds": 0}) for v in found.verdicts] == [
        v.model_copy(update={"seconds": 0}) for v in wanted.verdicts
    ]


def test_an_evaluation_without_room_says_that_what_is_finished_stays(tiny, tmp_path, monkeypatch):
    """The blocks that it has are read, and the rest is attacked."""
    pytest.importorskip("scipy")
    pytest.importorskip("pyarrow")
    from surgeon.evaluation import Attack, Store, assess, certify, evaluate
    from surgeon.evaluation.engine import blocks
    from surgeon.recipe import Evaluation

    x = torch.rand(200, 3, 8, 8)
    with torch.no_grad():
        y = tiny.eval()(x).argmax(1)
    attack, write, folder = blocks.run_attack, Store.write, tmp_path / "e"
    attacked = []

    def running(*given, **more):
        attacked.append(given[0].name)
        return attack(*given, **more)

    def filling(self, number, attack, block, *rest):
        with room_for(100) if block == 1 else contextlib.nullcontext():
            write(self, number, attack, block, *rest)

    monkeypatch.setattr(blocks, "run_attack", running)
    settings, many = (
        Evaluation(suite="basic", attacks=("fgsm",), eps=0.1),
        [Attack(name="f", kind="fgsm", eps=0.1)],
    )
    for call in (
        lambda: assess(tiny, x, y, settings, folder),
        lambda: evaluate(tiny, x, y, many, store=Store(tmp_path / "s")),
    ):
        monkeypatch.setattr(Store, "write", filling)
        with pytest.raises(WritingError) as caught:
            call()
        words = str(caught.value)
        assert "00001.parquet could not be written: File too large" in words
        assert words.count("what was finished before stays: with more room, the same call goes on") == 1
        monkeypatch.setattr(Store, "write", write)
        before = len(attacked)
        call()
        assert len(attacked) - before == 3  # of four blocks
    with room_for(100), pytest.raises(WritingError, match="what was finished before stays"):
        certify(tiny, x[:2], y[:2], sigma=0.1, n=10, folder=tmp_path / "c")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, kind):
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/full")
    was = path.stat()
    with pytest.raises(WritingError, match=f"{kind} is not an ordinary file; choose another place"):
        write_text(path, "text")
    assert path.stat()[:3] == was[:3]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        WritingError, match="file/page could not be written: Not a directory; nothing of it was kept"
    ):
        make_folder(tmp_path / "file" / "page")


def test_the_command_line_tells_it_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    from surgeon.training import loop

    store = loop._Training._store

    def full(self):
        with room_for(100_000):
            store(self)

    monkeypatch.setattr(loop._Training, "_store", full)
    code, _, err = invoke(
        "train",
        "plain",
        "zoo/lenet5",
        "--input-size",
        "1,28,28",
        "--set",
        "training.epochs=1",
        "--set",
        "training.batch_size=512",
        "--device",
        "cpu",
        "-o",
        tmp_path / "run",
    )
    last = err.splitlines()[-1]
    assert code == 2
    assert (
        last.startswith("Error: ")
        and "checkpoint.pt could not be written: File too large; nothing of it was kept" in last
    )
    assert last.endswith("there is no checkpoint yet: the same call begins again")


def test_who_may_read_new_files_may_read_all_that_is_written(tmp_path, tiny):
    before = os.umask(0o022)
    try:
        cut = surgeon.apply(tiny, "noise", input_size=(3, 8, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            surgeon.save(cut, tmp_path / "cut")
        images = Images(torch.rand(4, 3, 8, 8), torch.arange(4))
        fit(cut, images, images, Training(epochs=1, batch_size=2), folder=tmp_path / "training")
    finally:
        os.umask(before)
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert {f.suffix for f in files} >= {".safetensors", ".json"}
    assert [f.name for f in files if f.stat().st_mode & 0o044 != 0o044] == []


def test_a_new_operation_is_written_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "mine" / "my-op"
    with room_for(500):
        code, _, said = invoke("new-operation", "my-op", "-o", folder)
    assert code == 2 and str(folder) in said and "File too large" in said
    assert list(tmp_path.iterdir()) == []
    assert invoke("new-operation", "my-op", "-o", folder)[0] == 0
