"""Tiny sets in the layouts of the published ones, which the tests of shifted sets write."""

import numpy as np
from PIL import Image

from surgeon.data.shifted.classes import CUES
from surgeon.results.shifted import CORRUPTIONS, SEVERITIES


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def random_pixels(seed, side=8):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def cifar_c(folder, images, classes=10, kinds=CORRUPTIONS, seed=0):
    """`images` test images, as many of each class; returns the labels of one severity and each file's array."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    arrays = {}
    for kind in kinds:
        arrays[kind] = rng.integers(0, 256, (5 * images, 32, 32, 3), dtype=np.uint8)
        np.save(folder / f"{kind}.npy", arrays[kind])
    return labels, arrays


def imagenet_c(folder, wnids, each=2, kinds=CORRUPTIONS, side=8):
    """`each` images of each class in each corruption and severity; returns path → pixels."""
    written = {}
    for k, kind in enumerate(kinds):
        for severity in SEVERITIES:
            for w, wnid in enumerate(wnids):
                for n in range(each):
                    path = folder / kind / str(severity) / wnid / f"ILSVRC2012_val_{w:04d}{n:04d}.png"
                    written[path] = random_pixels([k, severity, w, n], side)
                    png(path, written[path])
    return written


def classes_of_imagenet(folder, wnids, side=8):
    """An image of each class; returns path → pixels."""
    written = {folder / w / f"{w}_0.png": random_pixels([9, i], side) for i, w in enumerate(wnids)}
    for path, pixels in written.items():
        png(path, pixels)
    return written


def cue_conflict(folder, side=8):
    """Of each shape one image with the texture of the next class, and one without a conflict."""
    classes, written = list(CUES), {}
    for i, shape in enumerate(classes):
        for texture in (classes[(i + 1) % len(classes)], shape):
            path = folder / shape / f"{shape}{i + 1}-{texture}{i + 2}.png"
            written[path] = random_pixels([5, i, len(texture)], side)
            png(path, written[path])
    return written


NAMED = {
    "imagenet-a": "0.000116_digital clock _ digital clock_0.865662.jpg",
    "imagenet-r": "art_0.jpg",
    "sketch": "sketch_1.JPEG",
}
"""Folder of an archive → a file's name as it is published, in a folder for each class."""


def archive(folder, name, wnids):
    """An archive as it is unpacked: a README beside the classes, JPEG files by their published names."""
    (folder / name).mkdir(parents=True)
    (folder / name / "README.txt").write_text("Please cite.\n")
    for wnid in wnids:
        path = folder / name / wnid / NAMED[name]
        path.parent.mkdir()
        Image.new("RGB", (8, 8), (len(wnid), 20, 30)).save(path, "JPEG")
    return folder / name
