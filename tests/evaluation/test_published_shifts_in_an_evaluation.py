"""Published shifts in an evaluation: kept, shown, verified, resumed."""

import json
import shutil

import published_layouts as write
import pytest
import torch
from published_pixels import IMAGES, linear

from surgeon.data.shifted import cifar_c as layout_of_cifar
from surgeon.data.shifted.classes import CIFAR10
from surgeon.errors import ArtifactError, DataError, SurgeonError
from surgeon.evaluation import assess, shift_accuracy
from surgeon.pipeline.verifying import verify_folder
from surgeon.recipe import Evaluation
from surgeon.report import report
from surgeon.results.shifted import (
    Shift,
)
from surgeon.results.statistics import wilson


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(7)
    return torch.rand(12, 3, 32, 32, generator=generator), torch.arange(12) % 10


def settings(*folders, **more):
    return Evaluation(suite="basic", attacks=["fgsm"], shifts=[*map(str, folders)], **more)


def test_an_evaluation_keeps_them_shows_them_and_verifies_them(small_cifar, tmp_path, images):
    write.cifar_c(tmp_path / "CIFAR-10-C", IMAGES)
    model, folder = linear(10, 32), tmp_path / "e"
    found = assess(model, *images, settings(tmp_path / "CIFAR-10-C"), folder, class_names=CIFAR10)
    (shift,) = found.shifts
    assert shift == shift_accuracy(model, tmp_path / "CIFAR-10-C", (3, 32, 32), class_names=CIFAR10)
    page = report([folder], tmp_path / "page.html").read_text()
    assert "CIFAR-10-C" in page and "jpeg compression" in page
    assert f"{100 * shift.error:.1f}" in page
    checks = {c.name: c for c in verify_folder(folder)}
    assert checks["shifts"].ok and "counted again" in checks["shifts"].detail
    shutil.rmtree(tmp_path / "CIFAR-10-C")  # a finished evaluation needs the set no more
    again = assess(model, *images, settings(tmp_path / "CIFAR-10-C"), folder, class_names=CIFAR10)
    assert again == found


def test_a_count_that_was_changed_is_found(small_cifar, tmp_path, images):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    folder = tmp_path / "e"
    assess(linear(10, 32), *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    for name in ("evaluation.json", "shifts.json"):
        held = json.loads((folder / name).read_text())
        row = (held["shifts"][0] if name == "evaluation.json" else held[0])["rows"][2]
        row["share"] = wilson(IMAGES, IMAGES).model_dump()
        (folder / name).write_text(json.dumps(held))
    assert {c.name: c.ok for c in verify_folder(folder)}["shifts"] is False


def test_a_killed_evaluation_goes_on_where_it_stopped(small_cifar, tmp_path, images, monkeypatch):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog", "snow"))
    folder, model = tmp_path / "e", linear(10, 32)
    from surgeon.evaluation.beyond import published

    read, decided = published._decisions, []

    def dies(model, part, *more):
        if len(decided) == 6:
            raise KeyboardInterrupt
        decided.append((part.name, part.severity))
        return read(model, part, *more)

    def goes_on(model, part, *more):
        decided.append((part.name, part.severity))
        return read(model, part, *more)

    monkeypatch.setattr(published, "_decisions", dies)
    with pytest.raises(KeyboardInterrupt):
        assess(model, *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    monkeypatch.setattr(published, "_decisions", goes_on)
    found = assess(model, *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    assert len(decided) == len({*decided}) == 10
    assert found.shifts[0] == shift_accuracy(model, tmp_path / "c", (3, 32, 32), class_names=CIFAR10)


def test_parts_of_other_images_are_not_gone_on_with(small_cifar, tmp_path, images, monkeypatch):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    folder, model = tmp_path / "e", linear(10, 32)
    from surgeon.evaluation.beyond import published

    add = published._Kept.add

    def dies(self, part, said):
        add(self, part, said)
        raise KeyboardInterrupt

    monkeypatch.setattr(published._Kept, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        assess(model, *images, settings(tmp_path / "c"), folder)
    monkeypatch.undo()
    monkeypatch.setattr(layout_of_cifar, "IMAGES", IMAGES)
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",), seed=1)
    with pytest.raises(ArtifactError, match="was measured on other images"):
        assess(model, *images, settings(tmp_path / "c"), folder)


def test_a_wrong_path_leaves_the_folder_free(small_cifar, tmp_path, images):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    with pytest.raises(DataError, match="is not there"):
        assess(linear(10, 32), *images, settings(tmp_path / "d"), tmp_path / "e")
    with pytest.raises(DataError, match="not a set for this network"):
        other = (*"abcdefghij",)
        assess(linear(10, 32), *images, settings(tmp_path / "c"), tmp_path / "e", class_names=other)
    assert assess(linear(10, 32), *images, settings(tmp_path / "c"), tmp_path / "e").shifts


def test_a_set_twice_is_refused():
    with pytest.raises(SurgeonError, match="a folder twice"):
        settings("c", "c")


def test_a_shift_is_read_again_as_it_was_written():
    shift = Shift(name="x", kind="cifar-c", source="s", contents="", images=1, whole=False)
    assert Shift.model_validate_json(shift.model_dump_json()) == shift


def test_the_command_line_measures_and_prints_them(small_cifar, tmp_path):
    from click.testing import CliRunner

    from surgeon.cli import group

    write.cifar_c(tmp_path / "c", IMAGES)
    order = [
        "evaluate",
        "zoo/lenet5",
        "--data",
        "digits",
        "--suite",
        "basic",
        "--samples",
        "10",
        "--eps",
        "0.05",
    ]
    done = CliRunner().invoke(
        group, [*order, "--shift", str(tmp_path / "c"), "-o", str(tmp_path / "e")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "CIFAR-10-C, 20 images in each part; mean error over 15 corruptions and 5 severities" in said
    assert "jpeg compression" in said and "taken in the order of CIFAR-10's classes" in said
    wrong = CliRunner().invoke(group, [*order, "--shift", str(tmp_path / "d"), "-o", str(tmp_path / "f")])
    assert wrong.exit_code == 2 and "is not there; expected is one of" in wrong.output
    assert not (tmp_path / "f" / "settings.json").exists()
