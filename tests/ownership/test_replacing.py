"""Folders and files that appear whole, and replace only what surgeon wrote."""

import contextlib
import os

import pytest

from surgeon.errors import ArtifactError
from surgeon.ownership import add_to_manifest, new_file, new_folder, read_manifest


def write(folder, text="x", what="network", overwrite=False):
    with new_folder(folder, what, overwrite=overwrite) as work:
        (work / "model").write_text(text)
        (work / "below").mkdir()
        (work / "below" / "more").write_text(text)


def test_what_surgeon_wrote_is_replaced_and_nothing_else_of_the_folder_is_lost(tmp_path):
    out = tmp_path / "out"
    write(out)
    write(out, "y", overwrite=True)
    assert (out / "model").read_text() == "y" and os.listdir(tmp_path) == ["out"]
    for name, message in (
        ("notes.txt", "surgeon did not write, or not as it is (notes.txt), and only"),
        ("below/more", "surgeon did not write, or not as it is (below/more), and only"),
    ):
        (out / name).write_text("mine")
        with pytest.raises(ArtifactError) as error:
            write(out, "z", overwrite=True)
        assert message in str(error.value) and (out / name).read_text() == "mine"
        (out / name).write_text("y") if "/" in name else (out / name).unlink()
    (out / "sub").mkdir()
    with pytest.raises(ArtifactError, match=r"\(sub/\)"):
        write(out, "z", overwrite=True)
    (out / "sub").rmdir()
    (out / "README.md").write_text("card")
    add_to_manifest(out, "README.md")
    write(out, "z", overwrite=True)
    assert (out / "model").read_text() == "z"


def test_folders_of_another_kind_and_of_nobody_are_kept(tmp_path):
    write(tmp_path / "demo", what="demo")
    with pytest.raises(ArtifactError, match="demo holds a demo, which a network does not replace"):
        write(tmp_path / "demo", overwrite=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    with pytest.raises(ArtifactError, match="thesis was not written by surgeon"):
        write(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "mine"


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert read_manifest(tmp_path / "out").what == "network"


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path):
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "y", overwrite=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "model").read_text() == "y"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "other").symlink_to("mine")
    with pytest.raises(ArtifactError, match="other was not written by surgeon"):
        write(tmp_path / "other", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("back", [True, False])
def test_where_it_cannot_take_its_place_the_old_one_is_there_again_or_its_place_is_told(
    tmp_path, monkeypatch, back
):
    out, rename, calls = tmp_path / "out", os.rename, []
    write(out)

    def failing(a, b):
        calls.append(b)
        if len(calls) == 2 or (len(calls) == 3 and not back):
            raise OSError(5, "Input/output error")
        rename(a, b)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(ArtifactError) as error:
        write(out, "y", overwrite=True)
    monkeypatch.setattr(os, "rename", rename)
    if back:
        assert "could not be replaced, and is as it was: Input/output error" in str(error.value)
        assert os.listdir(tmp_path) == ["out"]
    else:
        assert str(next(p for p in tmp_path.iterdir() if "-old-" in p.name)) in str(error.value)
        write(out, "z", overwrite=True)  # its next owner puts it back first
        assert os.listdir(tmp_path) == ["out"]
    assert (out / "model").read_text() == ("x" if back else "z")


def test_a_file_is_replaced_where_it_is_ours_alone(tmp_path):
    page = tmp_path / "page.html"
    for text, more, message in (
        ("one", {}, ""),
        ("two", {}, "exists already; choose another file, or pass overwrite=True"),
        ("two", {"overwrite": True, "ours": lambda p: p.read_text() == "mine"}, "surgeon did not write"),
        ("two", {"overwrite": True, "ours": lambda p: p.read_text() == "one"}, ""),
        ("three", {"overwrite": True, "inputs": [page]}, "is or holds the input"),
    ):
        before = page.read_text() if page.exists() else None
        refused = pytest.raises(ArtifactError, match=message) if message else contextlib.nullcontext()
        with refused, new_file(page, **more) as work:
            assert work.suffix == ".html"
            work.write_text(text)
        assert page.read_text() == (before if message else text)
    assert os.listdir(tmp_path) == ["page.html"]
