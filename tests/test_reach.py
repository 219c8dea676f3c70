"""The page of reach counts what is there."""

import surgeon
from benchmarks.reach import page
from benchmarks.sweep.layers import UNKNOWN, reach
from benchmarks.sweep.subject import sketch


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
    assert f"3 × Linear ({next(iter(less.missed))})" in text and "ModelError: it runs at no size" in text
    assert f"| resnet18 | {next(iter(less.missed))} | {UNKNOWN} |" in text


def test_the_page_says_of_each_layer_why_it_is_no_site():
    names = ("torchvision/swin_t", "torchvision/fcos_resnet50_fpn")
    text = page({n: sketch(n).reach for n in names}, {})
    inside = "its weight is used inside of shifted_window_attention, which torch.fx keeps whole"
    assert f"| torchvision/swin_t | 12 × features.*.*.attn.qkv | {inside} |" in text
    cannot = "FCOSClassificationHead.forward cannot be traced: Proxy object cannot be iterated"
    assert f"| torchvision/fcos_resnet50_fpn | head.classification_head.cls_logits | {cannot} |" in text
    assert UNKNOWN not in text
    assert "## Layers that are not sites\n\nEvery layer is a site." in page({}, {})
