"""What a network was trained on: every command that takes its folder tests it on images that it has not seen,
its classes in order."""

import json
import shutil

import pytest
import torch

import surgeon
from surgeon.data import contents_of
from surgeon.disk.files import read_parquet
from surgeon.errors import ArtifactError, DataError, RecipeError
from surgeon.pipeline.lineage import lineage_of
from surgeon.recipe import Evaluation
from tests.chain.changes import exchanged, failures, verified
from tests.cli.commandline import invoke
from tests.lineages import NET, ORDER, SIZE, evaluated, made, pictures, trained

for package in ("accelerate", "sklearn", "torchattacks"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("lineage")


@pytest.fixture(scope="module")
def data(place):
    return pictures(place / "data")


@pytest.fixture(scope="module")
def run(place, data):
    """A run's folder, its classes in another order than the folders', its split by a seed of its own; and
    what it was made of."""
    said = [f"data.classes=[{','.join(ORDER)}]", "data.test_share=0.34"]
    return trained(place / "run", data, more=said, seed=3, split_seed=5)


@pytest.fixture(scope="module")
def known(place, run):
    """The evaluation of the run."""
    return evaluated(run.folder, place / "known")


def test_a_runs_own_test_images_are_those_that_it_was_not_trained_on(known, run):
    assert known.summary.clean.n == 12 == len(run.sets.test.y) and known.data["classes"] == list(ORDER)


@pytest.mark.parametrize(
    "kind",
    ["trained", "cut", "weights", "link", "apply", "convert", "convert a file", "revert", "fold"],
)
def test_a_network_of_a_run_is_tested_on_the_runs_test_images(known, run, data, tmp_path, kind):
    target, given = made(kind, run, tmp_path)
    found = evaluated(target, tmp_path / "e", data=str(data), **given)
    assert found.data["images"] == known.data["images"]  # of pixels and labels, in their order
    assert found.data["classes"] == list(ORDER) and not any("not known" in n for n in found.notes)


def test_a_copy_of_the_images_under_another_name_is_known_by_what_it_holds(known, run, data, tmp_path):
    shutil.copytree(data, tmp_path / "copy")
    found = evaluated(run.folder, tmp_path / "e", data=str(tmp_path / "copy"))
    assert found.data["images"] == known.data["images"]


def test_other_images_of_the_same_classes_are_labelled_by_name_and_a_remark_tells_what_is_not_known(
    run, tmp_path
):
    other = pictures(tmp_path / "other", first=50, count=4)
    found = evaluated(run.folder / "trained", tmp_path / "e", data=str(other))
    rows = [r for r in read_parquet(tmp_path / "e" / "verdicts.parquet") if r["attack"] == "none"]
    files = sorted(other.rglob("*.png"))
    assert [ORDER[r["label"]] for r in rows] == [files[r["example"]].parent.name for r in rows] and len(
        rows
    ) == 12
    assert any("whether it has seen images of" in n and "not known" in n for n in found.notes)
    assert not failures(verified(tmp_path / "e"))


def test_other_classes_of_the_same_number_are_refused_unless_they_are_said_to_be_meant(run, tmp_path):
    other = pictures(tmp_path / "other", ("bee", "cat", "dog"))
    for target in (run.folder, run.folder / "trained"):
        with pytest.raises(
            DataError,
            match=r"has the classes bee, cat, dog, and .* was trained for cat, bee, ape: .*num_classes=3",
        ):
            evaluated(target, tmp_path / "e", data=str(other))
    assert not (tmp_path / "e").exists()
    assert evaluated(run.folder, tmp_path / "e", data=str(other), num_classes=3).data["classes"] == [
        "bee",
        "cat",
        "dog",
    ]
    code, _, err = invoke("convert", "noise", run.folder / "trained", "--data", other, "-o", tmp_path / "c")
    assert code == 2 and "was trained for cat, bee, ape" in err and not (tmp_path / "c").exists()
    with pytest.raises(DataError, match="was trained for cat, bee, ape"):
        trained(tmp_path / "on", other, run.folder / "trained")


def test_other_classes_of_weights_and_of_a_conversion_are_told_how_they_would_be_meant(run, tmp_path):
    other = pictures(tmp_path / "other", ("bee", "cat", "dog"))
    weights = {"weights": str(run.folder / "trained" / "model.safetensors"), "num_classes": 3}
    with pytest.raises(
        DataError, match=r"evaluate .*run, with num_classes=3"
    ):  # here it makes the network, and says no more
        evaluated(NET, tmp_path / "e", data=str(other), **weights)
    given = ["convert", "noise", run.folder / "trained", "--data", other, "-o", tmp_path / "c"]
    code, _, err = invoke(*given)
    assert code == 2 and "say so by --set 'data.classes=[bee, cat, dog]'" in err
    code, out, err = invoke(*given, "--set", "data.classes=[bee,cat,dog]", "--json")
    assert code == 0 and any("taken by number, as was said" in n for n in json.loads(out)["notes"]), err


def test_the_same_classes_in_an_order_that_contradicts_the_outputs_are_refused(run, tmp_path):
    other, wrong = pictures(tmp_path / "other", first=50), "data.classes=[ape,bee,cat]"
    code, _, err = invoke(
        "convert", "noise", run.folder / "trained", "--data", other, "--set", wrong, "-o", tmp_path / "c"
    )
    assert code == 2 and "give them in that order, --set 'data.classes=[cat, bee, ape]'" in err
    with pytest.raises(DataError, match=r"data.classes=\[cat, bee, ape\]"):
        trained(tmp_path / "on", other, run.folder / "trained", more=[wrong])


def test_a_source_of_attacks_must_mean_the_same_classes(run, data, tmp_path):
    plain = trained(tmp_path / "plain", data)
    with pytest.raises(
        DataError,
        match="the source .*plain says ape, bee, cat by its outputs, and the images are labelled cat",
    ):
        evaluated(run.folder, tmp_path / "e", sources=[str(plain.folder)])


@pytest.mark.parametrize("what", ["trained", "trained/model.safetensors"])
def test_a_conversion_measures_on_the_runs_test_images(run, data, tmp_path, what):
    model = ["--model", NET, "--num-classes", "3", "--input-size", "1,28,28"] if "." in what else []
    given = ["convert", "noise", run.folder / what, *model, "--data", data, "--seed", "11"]
    code, out, err = invoke(*given, "-o", tmp_path / "c", "--json")
    assert code == 0, err
    found = json.loads(out)
    x, y = run.sets.test.x.float() / 255, run.sets.test.y
    from surgeon.data import Images

    assert found["settings"]["contents"]["test images"] == contents_of(Images(x, y))
    again = evaluated(tmp_path / "c", tmp_path / "e")  # knows its images by itself, and their order
    assert again.data["classes"] == list(ORDER) and again.summary.clean.n == 12
    assert not failures(verified(tmp_path / "c"))


def test_a_conversion_of_what_tells_nothing_knows_its_own_images_afterwards(data, tmp_path):
    surgeon.save(surgeon.create_model(NET, num_classes=3, in_chans=1, input_size=SIZE), tmp_path / "net")
    order = f"data.classes=[{','.join(ORDER)}]"
    given = ["convert", "noise", tmp_path / "net", "--data", data, "--seed", "11", "--set", order]
    code, _, err = invoke(*given, "-o", tmp_path / "c")
    assert code == 0, err
    (origin,) = lineage_of(tmp_path / "c")
    assert (origin.split_seed, origin.classes, origin.place) == (11, ORDER, str(tmp_path / "c"))
    assert evaluated(tmp_path / "c", tmp_path / "e").summary.clean.n == 3  # a tenth of each class of 12


def test_training_goes_on_with_the_runs_split_and_classes_and_so_does_a_third(run, data, known, tmp_path):
    on = trained(tmp_path / "on", data, run.folder / "trained", seed=8)
    assert contents_of(on.sets.train) == contents_of(run.sets.train) and on.sets.classes == ORDER
    weights = str(run.folder / "trained" / "model.safetensors")
    from_file = trained(tmp_path / "file", data, seed=8, weights=weights)
    assert contents_of(from_file.sets.test) == contents_of(run.sets.test)
    third = trained(tmp_path / "third", pictures(tmp_path / "other", first=50), on.folder / "trained")
    assert third.sets.classes == ORDER and any("has seen images" in r for r in third.remarks)
    assert [o.place for o in lineage_of(third.folder / "trained")] == [
        str(d.folder) for d in (third, on, run)
    ]
    found = evaluated(third.folder, tmp_path / "e", data=str(data))
    assert found.data["images"] == known.data["images"]
    (told,) = (n for n in found.notes if "not known" in n)  # the first ones may lie among the third's
    assert f"was trained on {tmp_path / 'other'}: whether it has seen images of {data}" in told


def test_a_split_by_which_seen_images_would_be_tested_on_is_refused(run, data, tmp_path):
    for more in (
        {"split_seed": 6},
        {"more": ["data.test_share=0.2"]},
        {"more": ["data.classes=[ape,bee,cat]"]},
    ):
        with pytest.raises(
            RecipeError, match=r"images that it was trained on would be tested on; leave it out"
        ):
            trained(tmp_path / "on", data, run.folder / "trained", **more)
    assert not (tmp_path / "on").exists()
    same = trained(tmp_path / "on", data, run.folder / "trained", more=["data.test_share=0.34"], split_seed=5)
    assert contents_of(same.sets.test) == contents_of(run.sets.test)


def test_a_source_with_test_images_of_its_own_may_be_split_anew(tmp_path):
    for split, first in (("train", 0), ("val", 20), ("test", 40)):
        pictures(tmp_path / "data" / split, first=first, count=6)
    first = trained(tmp_path / "run", tmp_path / "data")
    on = trained(tmp_path / "on", tmp_path / "data", first.folder / "trained", split_seed=9)
    assert contents_of(on.sets.test) == contents_of(first.sets.test)


@pytest.mark.parametrize("change", ["more", "swapped", "renamed"])
def test_images_that_changed_since_the_training_are_refused_by_every_command(tmp_path, change):
    data = pictures(tmp_path / "data")
    run = trained(tmp_path / "run", data)
    evaluated(run.folder, tmp_path / "before")
    if change == "more":
        pictures(data, first=50, count=3)
    elif change == "renamed":
        (data / "ape").rename(data / "ant")
    else:
        for a, b in (("ape", "x"), ("bee", "ape"), ("x", "bee")):
            (data / a).rename(data / b)
    said = (
        r"run was made from something else than what is there now: .*; put back what it was "
        r"trained on, or name other images"
    )
    for target in (run.folder, run.folder / "trained"):
        with pytest.raises(ArtifactError, match=said):
            evaluated(target, tmp_path / "e")
    with pytest.raises(ArtifactError, match=said):
        trained(tmp_path / "on", data, run.folder / "trained")
    code, _, err = invoke("convert", "noise", run.folder / "trained", "--data", data, "-o", tmp_path / "c")
    assert code == 2 and "was made from something else" in err
    assert not any((tmp_path / n).exists() for n in ("e", "on", "c"))
    assert "images" in failures(verified(tmp_path / "before"))


def test_a_damaged_record_is_told_and_not_passed_over(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    inner = tmp_path / "run" / "trained"
    (tmp_path / "run" / "settings.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"settings.json cannot be read"):
        evaluated(tmp_path / "run", tmp_path / "e", data="digits")
    (inner / "lineage.json").write_text("[")
    with pytest.raises(ArtifactError, match=r"lineage.json cannot be read"):
        evaluated(inner, tmp_path / "e", data="digits")
    (inner / "lineage.json").unlink()  # as older versions wrote it
    with pytest.raises(ArtifactError, match=r"settings.json cannot be read"):
        evaluated(inner, tmp_path / "e", data="digits")


@pytest.mark.parametrize("part", ["trained", "cut"])
def test_a_copied_network_knows_its_images_at_any_place(run, data, tmp_path, part):
    copy = shutil.copytree(run.folder / part, tmp_path / "mynet2")
    one = evaluated(run.folder / part, tmp_path / "a", data=str(data))
    other = evaluated(copy, tmp_path / "b")  # finds its images by itself
    assert one.data["images"] == other.data["images"] and other.data["classes"] == list(ORDER)
    assert one.summary.clean == other.summary.clean and one.notes == other.notes
    on = trained(tmp_path / "on", data, copy, seed=8)
    assert contents_of(on.sets.test) == contents_of(run.sets.test) and on.sets.classes == ORDER
    file = evaluated(
        NET, tmp_path / "c", data=str(data), weights=str(copy / "model.safetensors"), num_classes=3
    )
    assert file.data["images"] == one.data["images"]


def test_a_network_moved_out_of_its_run_fits_and_is_converted_on_the_same_images(run, data, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    moved = shutil.move(tmp_path / "run" / "trained", tmp_path / "mine")
    shutil.rmtree(tmp_path / "run")
    assert lineage_of(moved)[0].place == str(moved) and not failures(verified(moved))
    given = ["convert", "noise", moved, "--data", data, "--seed", "11", "-o", tmp_path / "c", "--json"]
    code, out, err = invoke(*given)
    assert code == 0, err
    test = json.loads(out)["settings"]["contents"]["test images"]
    assert test["images"] == 12 and not any("is recorded" in n for n in json.loads(out)["notes"])
    # A conversion is known by its own folder too, also where only the files that are uploaded are left of it.
    (tmp_path / "c" / "conversion.json").unlink()
    assert evaluated(tmp_path / "c", tmp_path / "e", data=str(data)).summary.clean.n == 12
    (moved / "lineage.json").write_text((moved / "lineage.json").read_text().replace("cat", "dog"))
    assert failures(verified(moved)) == {"files"}


def test_a_network_without_any_record_is_remarked_on_by_every_command(run, data, tmp_path):
    old = shutil.copytree(run.folder / "trained", tmp_path / "old")
    (old / "lineage.json").unlink()
    said = f"nothing is recorded of what {old} was trained on: whether it has seen images of {data}"
    assert any(n.startswith(said) for n in evaluated(old, tmp_path / "e", data=str(data)).notes)
    assert any(r.startswith(said) for r in trained(tmp_path / "on", data, old).remarks)
    code, out, err = invoke("convert", "noise", old, "--data", data, "-o", tmp_path / "c", "--json")
    assert code == 0 and any(n.startswith(said) for n in json.loads(out)["notes"]), err
    (tmp_path / "in").mkdir()
    inside = shutil.copytree(run.folder, tmp_path / "in" / "run")  # inside its run, the run tells it
    (inside / "trained" / "lineage.json").unlink()
    found = evaluated(inside / "trained", tmp_path / "f", data=str(data))
    assert found.data["classes"] == list(ORDER) and not any("is recorded" in n for n in found.notes)
    fresh = evaluated(NET, tmp_path / "g", data=str(data), num_classes=3)
    assert any("random weights" in n for n in fresh.notes) and not any(
        "is recorded" in n for n in fresh.notes
    )


@pytest.mark.parametrize("command", ["train", "run", "study", "evaluate", "convert", "apply"])
def test_an_output_among_the_images_is_refused_at_the_start(run, tmp_path, command):
    data = pictures(tmp_path / "data", count=6)
    target = {
        "evaluate": [run.folder],
        "convert": ["noise", run.folder / "trained"],
        "apply": ["noise", run.folder / "trained"],
    }
    source = "--calibration" if command == "apply" else "--data"
    before = sorted(tmp_path.rglob("*"))
    for out in (data / "run", data, tmp_path):
        given = [
            command,
            *target.get(command, ["kap", NET, "--input-size", "1,28,28"]),
            source,
            data,
            "-o",
            out,
        ]
        code, _, err = invoke(*given)
        assert code == 2 and "choose a place apart from them" in err and len(err.strip().splitlines()) == 1, (
            err
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_share_of_a_split_that_is_given_is_refused(tmp_path):
    for setting in ("data.test_share=0.3", "data.val_share=0.3"):
        with pytest.raises(
            DataError, match=rf"{setting.partition('=')[0]}=0.3, and digits has .* of its own"
        ):
            trained(tmp_path / "run", "digits", more=[setting])
    for split in ("train", "test"):
        pictures(tmp_path / "data" / split, count=6)
    with pytest.raises(DataError, match=r"data.test_share=0.3, and .*data has test images of its own"):
        trained(tmp_path / "run", tmp_path / "data", more=["data.test_share=0.3"])
    assert not (tmp_path / "run").exists()
    assert trained(tmp_path / "run", tmp_path / "data", more=["data.val_share=0.3"]).history


def test_lineages_are_read_back_as_they_were_written(run, tmp_path):
    found = lineage_of(run.folder)
    assert found and found == lineage_of(run.folder / "trained") and found[0].size == SIZE
    code, _, err = invoke("apply", "noise", run.folder / "trained", "-o", tmp_path / "a")
    assert code == 0 and lineage_of(tmp_path / "a") == found, err


def test_verify_names_a_record_that_nothing_else_is_made_from(run, known, place):
    for folder, name, key, value in (
        (run.folder, "faults.json", "images", 5),
        (run.folder, "settings.json", "calibration_count", 7),
        (run.folder, "settings.json", "pretrained", True),
        (run.folder, "made.json", "command", []),
        (place / "known", "evaluation.json", "notes", []),
    ):
        path = folder / name
        before = path.read_text()
        assert not failures(verified(folder)) and value != json.loads(before)[key]
        try:
            (folder / "report.html").rename(folder / "kept") if (folder / "report.html").exists() else None
            path.write_text(json.dumps({**json.loads(before), key: value}, indent=2))
            checks = verified(folder)
            assert failures(checks) == {"records"} and name in checks["records"].detail
        finally:
            path.write_text(before)
            (folder / "kept").rename(folder / "report.html") if (folder / "kept").exists() else None
        trained_again = folder / "trained"
        assert not trained_again.exists() or not failures(verified(folder))


def test_a_record_that_was_changed_is_not_written_down_as_right_by_the_same_command(data, tmp_path):
    run = trained(tmp_path / "run", data)
    (run.folder / "faults.json").write_text("{}")
    trained(tmp_path / "run", data)
    assert failures(verified(run.folder)) == {"records"}


def test_verify_looks_at_the_networks_that_attacks_came_from(run, data, tmp_path):
    other = trained(tmp_path / "other", data, more=[f"data.classes=[{','.join(ORDER)}]"], seed=1)
    from surgeon.pipeline import evaluate_target

    quick = Evaluation(suite="quick", eps=0.01, samples=4, diagnostics=4, pictures=False, beyond=False)
    given = {"device": "cpu", "input_size": SIZE, "sources": [str(other.folder)]}
    evaluate_target(str(run.folder), tmp_path / "e", quick, **given)
    checks = verified(tmp_path / "e")
    assert checks["source other"].ok and not failures(checks)
    network = surgeon.load(other.folder / "trained")
    torch.nn.init.ones_(next(network.parameters()))
    exchanged(network, other.folder / "trained")
    assert failures(verified(tmp_path / "e")) == {"source other"}
