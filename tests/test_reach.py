"""The page of reach counts what is there."""

import surgeon
from benchmarks.reach import page, reach


def test_layers_that_are_sites_are_counted_and_others_are_named():
    model = surgeon.create_model("zoo/lenet5")
    sites = surgeon.sites(model)
    whole = reach(model, sites)
    weighted = [s for s in sites if s.kind in ("conv", "linear")]
    assert whole.layers == len(weighted) == 5 and not whole.missed
    less = reach(model, [s for s in sites if s.kind != "linear"])
    assert len(less.missed) == less.kinds["Linear"] == 3
    text = page({"resnet18": less}, {"vgg11": "ModelError: it runs at no size"})
    assert (
        "**2 of 5 layers with weights are sites (40.0 %)**, in 1 models. 0 of them have batch norms" in text
    )
    assert f"3 × Linear ({less.missed[0]})" in text and "ModelError: it runs at no size" in text
