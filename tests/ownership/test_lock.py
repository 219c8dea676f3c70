"""The lock of a path: of one process, one thread, gone with its process."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from filelock import FileLock

from surgeon.errors import ArtifactError
from surgeon.ownership import check_apart, check_input, locked, new_file, new_folder
from surgeon.ownership.manifest import write_manifest

HOLD = (
    "import sys, time\n"
    "from surgeon.ownership import {what}\n"
    "with {what}({path!r}{more}) as work:\n"
    "    {then}\n"
    "    print('holding', flush=True)\n"
    "    time.sleep(60)\n"
)


def holder(path, what="locked", more="", then="pass"):
    """A process that is inside `what`(path)."""
    code = HOLD.format(what=what, path=str(path), more=more, then=then)
    found = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert found.stdout.readline() == "holding\n"
    return found


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_path_that_another_process_holds_is_refused_with_its_owner_and_free_once_that_is_killed(tmp_path):
    other = holder(tmp_path / "run")
    with pytest.raises(ArtifactError, match=rf"run is in use by process {other.pid} on .* since 20"):
        locked(tmp_path / "run").__enter__()
    killed(other)
    assert os.listdir(tmp_path) == [".surgeon-lock-run"]
    with locked(tmp_path / "run") as path:
        assert path == (tmp_path / "run").resolve()
    assert os.listdir(tmp_path) == []


def test_links_are_resolved_so_that_one_folder_has_one_lock(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    other = holder(tmp_path / "real")
    with pytest.raises(ArtifactError, match="link is in use"):
        locked(tmp_path / "link").__enter__()
    killed(other)


def test_the_thread_that_holds_it_may_lock_again_and_no_other_thread_may(tmp_path):
    found = []

    def elsewhere():
        try:
            locked(tmp_path / "run").__enter__()
        except ArtifactError as error:
            found.append(str(error))

    with locked(tmp_path / "run"):
        with locked(tmp_path / "run"):
            pass
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert found == [f"{tmp_path / 'run'} is in use by another thread of this process"]


def test_folders_above_are_made_and_gone_if_nothing_was_written(tmp_path):
    with locked(tmp_path / "a" / "b" / "c"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []
    with locked(tmp_path / "a" / "b" / "c") as path:
        path.mkdir()
    assert path.is_dir()


def test_where_the_parent_cannot_be_written_the_lock_lies_inside(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, m: p != tmp_path.resolve() and access(p, m))
    with locked(tmp_path / "out"):
        assert os.listdir(tmp_path / "out") == [".surgeon-lock"] and os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == []


def test_what_a_killed_owner_had_not_finished_is_cleared_by_the_next(tmp_path):
    for _ in range(2):
        killed(holder(tmp_path / "cut", "new_folder", then="(work / 'half').write_text('x')"))
    assert (
        sum(n.startswith(".surgeon-new-") for n in os.listdir(tmp_path)) == 1
    )  # the second owner cleared the first one's
    mine = tmp_path / ".surgeon-new-1.00000000-other"
    mine.mkdir()  # of another path
    with new_folder(tmp_path / "cut") as work:
        (work / "whole").write_text("x")
    assert sorted(os.listdir(tmp_path)) == [mine.name, "cut"]
    assert sorted(os.listdir(tmp_path / "cut")) == [".surgeon.json", "whole"]


def test_what_a_kill_left_in_a_part_is_cleared_although_the_parts_lock_is_still_there(tmp_path):
    """A killed process leaves the file of a lock, not the lock; what somebody holds is not touched."""
    run, name = tmp_path / "run", ".surgeon-new-1.00000000-last.safetensors"
    for part in ("training", "other"):
        (run / part).mkdir(parents=True)
        (run / part / name).write_text("half")
        (run / f".surgeon-lock-{part}").touch()
    write_manifest(run, "run", files=False)
    with FileLock(run / ".surgeon-lock-other"), locked(run):
        assert not (run / "training" / name).exists() and (run / "other" / name).exists()
    with locked(run):
        assert not (run / "other" / name).exists()


def test_what_a_killed_owner_was_replacing_is_put_back(tmp_path):
    with new_folder(tmp_path / "cut") as work:
        (work / "first").write_text("x")
    kill = "import os; os.rename = lambda a, b, r=os.rename: (r(a, b), '-old-' in str(b) and os.kill(os.getpid(), 9))"
    code = (
        f"{kill}\nfrom surgeon.ownership import new_folder\nwith "
        f"new_folder({str(tmp_path / 'cut')!r}, overwrite=True): pass"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "cut").exists()
    with locked(tmp_path / "cut"):
        assert (tmp_path / "cut" / "first").is_file()
    assert os.listdir(tmp_path) == ["cut"]


def left_by_a_kill(folder):
    """What `folder` holds, as a kill between the two renames of its replacement leaves it."""
    with new_folder(folder) as work:
        (work / "first").write_text("x")
    return folder.rename(folder.with_name(f".surgeon-old-12345.0a1b2c3d-{folder.name}"))


def test_what_a_killed_owner_was_replacing_is_put_back_over_an_empty_folder(tmp_path):
    left_by_a_kill(tmp_path / "cut")
    (tmp_path / "cut").mkdir()
    with locked(tmp_path / "cut"):
        assert (tmp_path / "cut" / "first").is_file()
    assert os.listdir(tmp_path) == ["cut"]


@pytest.mark.parametrize("what", ["foreign", "file", "another kind", "incomplete"])
def test_what_a_killed_owner_was_replacing_is_kept_where_something_else_lies(tmp_path, capsys, what):
    cut = tmp_path / "cut"
    old = left_by_a_kill(cut)
    if what == "file":
        cut.write_text("mine")
    elif what == "foreign":
        cut.mkdir()
        (cut / "mine").write_text("x")
    else:
        cut.mkdir()
        (cut / "second").write_text("x")
        write_manifest(cut, "network" if what == "incomplete" else "table", files=True)
        if what == "incomplete":
            (cut / "second").unlink()
    with pytest.raises(ArtifactError), new_folder(cut, overwrite=what == "another kind"):
        raise ArtifactError("refused")
    assert (old / "first").is_file()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"lies in {old}, and is kept" in said


def test_what_a_killed_owner_was_replacing_is_cleared_once_a_whole_one_has_its_place(tmp_path):
    old = left_by_a_kill(tmp_path / "cut")
    whole = tmp_path / "whole"
    with new_folder(whole) as work:
        (work / "second").write_text("x")
    whole.rename(tmp_path / "cut")
    with locked(tmp_path / "cut"):
        assert not old.exists() and (tmp_path / "cut" / "second").is_file()


def test_an_input_is_never_written_over(tmp_path):
    (tmp_path / "run" / "trained").mkdir(parents=True)
    (tmp_path / "link").symlink_to("run")
    for target in ("run/trained", "run", "link"):
        with pytest.raises(ArtifactError, match="is or holds the input .*, which would be lost"):
            check_input(tmp_path / target, [None, "resnet18", tmp_path / "run" / "trained"])
    check_input(tmp_path / "run" / "folded", [tmp_path / "run" / "trained"])


@pytest.mark.parametrize("below", ["x", "x/y"])
def test_a_place_below_a_file_is_told_with_that_file(tmp_path, below):
    (tmp_path / "f").write_text("a list", encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=r"cannot be written: .*/f is a file, and not a folder .* choose a"
    ):
        locked(tmp_path / "f" / below).__enter__()
    assert (tmp_path / "f").read_text(encoding="utf-8") == "a list"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a file system that holds no files of anybody's")
def test_a_file_system_that_takes_no_files_is_not_told_as_in_use():
    with pytest.raises(
        ArtifactError, match="/proc/x cannot be written: no file can be made in /proc; choose a"
    ):
        locked("/proc/x").__enter__()


@pytest.mark.parametrize("number", [230, 236, 241, 250, 255, 256, 300])
def test_a_name_that_leaves_no_room_is_told_with_what_fits_before_any_work(tmp_path, number):
    for inside in (lambda path: locked(path), lambda path: new_folder(path), lambda path: new_file(path)):
        with pytest.raises(
            ArtifactError, match=rf"its name has {number} bytes, and \d+ are the most.*a shorter name"
        ):
            with inside(tmp_path / ("n" * number)):
                raise AssertionError("nothing is begun")
    with pytest.raises(ArtifactError, match=rf"its name has {number} bytes"):
        check_apart(tmp_path / "none" / "yet" / ("n" * number), [None])
    assert os.listdir(tmp_path) == []


def test_the_longest_name_is_one_that_fits_and_bytes_count(tmp_path):
    with pytest.raises(ArtifactError) as told, locked(tmp_path / ("é" * 128)):
        pass
    assert "has 256 bytes" in str(told.value)
    most = int(str(told.value).split(" are the most")[0].rpartition(" ")[2])
    with new_file(tmp_path / ("n" * most)) as work:
        work.write_text("x")
    with pytest.raises(ArtifactError, match="choose a shorter name"), locked(tmp_path / ("n" * 256) / "run"):
        pass
