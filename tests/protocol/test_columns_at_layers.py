"""Columns at layers of a run's network: measured on its own test images, and measured again when it is verified."""

import json

import pytest

from surgeon.errors import ArgumentError, ArtifactError
from surgeon.protocol import Column

for package in ("timm", "accelerate", "sklearn", "torchattacks", "pyarrow"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    from surgeon.pipeline import reproduce

    folder = tmp_path_factory.mktemp("layers") / "fig2"
    return folder, reproduce("anl/fig2", folder, budget="smoke", device="cpu")


def test_a_column_is_what_the_trained_network_gives_on_the_evaluations_images(done):
    import surgeon
    from surgeon.evaluation import read_assessment
    from surgeon.evaluation.engine.subject import of_pixels
    from surgeon.insight.changes import spread_by_layer
    from surgeon.pipeline.evaluating import test_images

    folder, found = done
    assert found.finished
    place = folder / "work" / "epoch-3" / "0"
    size = read_assessment(place / "evaluation").subject.input_size
    test = test_images(str(place), "digits", None, size, 64, weights=None).images
    seen = spread_by_layer(of_pixels(surgeon.load(place)), test.x)
    cells = found.rows["epoch 3"]
    assert cells["last noise layer"].unit == ""
    for column, layer in (("first noise layer", "features.bn1"), ("last noise layer", "features.bn3")):
        assert cells[column].measured[0] == pytest.approx(seen[layer], rel=1e-4)


def test_a_short_training_is_the_beginning_of_a_longer_one(done):
    folder, _ = done

    def losses(row):
        lines = (folder / "work" / row / "0" / "training" / "metrics.csv").read_text().splitlines()
        at = lines[0].split(",").index("loss")
        return [line.split(",")[at] for line in lines[1:]]

    assert losses("epoch-1") == losses("epoch-3")[:1]


def test_a_layer_that_the_network_has_not_is_named(done):
    from surgeon.pipeline.at_layers import at_layers

    place = done[0] / "work" / "epoch-1" / "0"
    with pytest.raises(ArgumentError, match=r"no layer 'features.bn9'; did you mean 'features.bn"):
        at_layers(place, [Column(of="deviation", layer="features.bn9")])
    with pytest.raises(ArgumentError, match="has 10 classes"):
        at_layers(place, [Column(of="gradient-similarity", layer="fc", classes=(0, 10))])
    alike = Column(of="gradient-similarity", layer="fc", classes=(0, 1, 2))
    each = [alike.model_copy(update={"classes": (0, c)}) for c in (1, 2)]
    seen = at_layers(place, [alike, *each])
    assert seen[alike] == pytest.approx(sum(seen[c] for c in each) / 2)
    assert at_layers(place, []) == {}


def test_figures_are_measured_again_when_the_folder_is_verified(done):
    from surgeon.pipeline import verify_folder

    folder, found = done
    assert [c for c in verify_folder(folder) if c.ok is False] == []
    file = folder / "runs.json"
    before = file.read_text(encoding="utf-8")
    content = json.loads(before)
    content["runs"][0]["columns"]["last noise layer"]["value"] *= 1.01
    content["runs"][0]["digest"] = ""
    try:
        file.write_text(json.dumps(content), encoding="utf-8")
        checks = {c.name: c for c in verify_folder(folder)}
        assert checks[f"runs.json, {found.runs[0].row}, seed 0"].ok is False
    finally:
        file.write_text(before, encoding="utf-8")


def test_other_images_than_the_evaluations_are_refused(done, monkeypatch):
    from surgeon.pipeline import at_layers

    place, true = done[0] / "work" / "epoch-1" / "0", at_layers.test_images

    def darker(*args, **more):
        found = true(*args, **more)
        return found._replace(images=found.images._replace(x=found.images.x / 2))

    monkeypatch.setattr(at_layers, "test_images", darker)
    with pytest.raises(ArtifactError, match="does not give the images"):
        at_layers.at_layers(place, [Column(of="deviation", layer="features.bn1")])
