"""Certified accuracy by randomized smoothing (Cohen, Rosenfeld & Kolter 2019); resumable and batched."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_number, checked_seed
from surgeon.disk.files import read_rows, write_parquet
from surgeon.disk.writing import make_folder
from surgeon.errors import ArgumentError, ArtifactError
from surgeon.evaluation.beyond.one_test import demand_one_test
from surgeon.evaluation.engine.admission import admitted, checked_examples
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, said, weights_hash
from surgeon.evaluation.engine.scoring import check_finite, check_logits, device_of
from surgeon.evaluation.engine.store import going_on
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.ownership import owning, take
from surgeon.processes import everyone, first, gathered, rank, world
from surgeon.quantities import too_large
from surgeon.results.assessment import Certified, Point
from surgeon.results.copies import copies_of
from surgeon.results.statistics import Share, clopper_pearson_low, wilson
from surgeon.warned import warn

ABSTAIN = -1
CHUNK = 1000
RADII = tuple(k / 20 for k in range(201))
"""Where curves are drawn, L2 in pixels."""
SETTINGS, PARTS = "certification.json", "certificates"
COLUMNS = {
    "example": "int64",
    "image": "string",
    "label": "int64",
    "sigma": "float64",
    "prediction": "int64",
    "radius": "float64",
    "count": "int64",
    "n": "int64",
}


class Certificate(BaseModel):
    """The certificate of one image: a class, and the L2 radius in [0, 1] pixels within which it holds.

    Examples:
        >>> shared = dict(example=0, image="", label=3, sigma=0.25, count=990, n=1000)
        >>> result = Certificate(prediction=3, radius=0.55, **shared)
        >>> result.prediction == result.label and result.radius >= 0.5
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: int
    image: str = Field(description="hash of the image's pixels")
    label: int
    sigma: float = Field(description="standard deviation of the noise, in [0, 1] pixels")
    prediction: int = Field(description="−1 where it abstains")
    radius: float = Field(description="0 where it abstains")
    count: int = Field(description="draws that said the class, of n")
    n: int


@in_own_state()
@owning("folder")
@going_on()
def certify(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    batch_size: int = 512,
    seed: int = 0,
    folder: str | Path | None = None,
    examples: Sequence[int] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[Certificate, ...]:
    """Certify each image by randomized smoothing, the algorithm CERTIFY of Cohen et al. 2019 (section 3.2.2).

    `n0` draws choose the class and `n` further draws count it. A lower bound on the probability of the class
    follows from Clopper and Pearson at confidence 1 − alpha; the radius is sigma · Φ⁻¹(bound). Noise is added
    to the pixels, which are not clipped afterwards.

    An image's draws depend only on seed, sigma and its pixels, not on its batch or process; draws of several
    images share one forward pass. The noise is drawn on the model's device: a GPU draws other numbers than a
    CPU, or than another kind of GPU.

    Args:
        model: The base classifier, of [0, 1] pixels, which gives logits.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        sigma: Standard deviation of the noise, in [0, 1] pixels, above 0.
        n0: Draws that choose the class.
        n: Draws that count it; they limit the largest radius.
        alpha: Probability that a certificate is wrong, between 0 and 1.
        batch_size: Noisy images in one forward pass.
        seed: Seed of the draws.
        folder: Folder that keeps finished certificates, so that the same call continues after an
            interruption.
        examples: Index of each image in its data set; by default 0 to N − 1.
        advance: Called with (done, total), counted in images.

    Returns:
        One certificate for each image, in order.

    Raises:
        DataError: Images, labels or the model do not fit.
        ArgumentError: Another argument is invalid.
        ArtifactError: `folder` belongs to another certification.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import certified_accuracy, certify
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(4, 3, 4, 4), torch.arange(4) % 3
        >>> certificates = certify(model, images, labels, sigma=0.25, n0=10, n=100)
        >>> certificates[0].n, len(certified_accuracy(certificates, [0.0, 0.25]))
        (100, 2)
    """
    sigma, alpha = (
        checked_number("sigma", sigma, positive=True),
        checked_number("alpha", alpha, positive=True, below=1),
    )
    if sigma > 1:
        raise ArgumentError(too_large("sigma", sigma, "of noise on pixels"))
    n0, n, batch_size = (
        checked_count("n0", n0),
        checked_count("n", n),
        checked_count("batch_size", batch_size),
    )
    seed = checked_seed(seed)
    images, labels, _ = admitted(model, images, labels, seed=seed)
    hashes, names = image_hashes(images), checked_examples(examples, len(images))
    parts = None
    if folder is not None:
        parts = Path(folder) / PARTS
        settings = {
            "sigma": sigma,
            "n0": n0,
            "n": n,
            "alpha": alpha,
            "seed": seed,
            "weights": weights_hash(model),
            "images": joined([*hashes, *map(str, labels.tolist()), *map(str, names)]),
            "said": said(model, images),
        }
        if device_of(model).type != "cpu":
            device = device_of(model)
            settings["drawn on"] = (
                torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
            )
        if first():
            take(Path(folder), SETTINGS, settings, "a certification")
            make_folder(parts)
        everyone()
    mine = range(rank(), len(images), world())
    rows: list[Certificate] = []
    done = {i: _read(parts, names[i]) for i in mine} if parts else {}
    for i, known in done.items():
        if known is not None and not (
            (known.image, known.label, known.n, known.sigma) == (hashes[i], int(labels[i]), n, sigma)
            and math.isclose(known.radius, _radius(known.count, n, alpha, sigma), rel_tol=1e-6, abs_tol=1e-9)
            and (known.prediction == ABSTAIN) == (known.radius == 0)
        ):
            raise ArtifactError(
                f"{parts}/{_file(names[i])} is damaged: it is no certificate that {known.count} draws of {known.n} "
                "give; delete it to make it anew"
            )
    todo = [i for i in mine if done.get(i) is None]
    rows += [c for c in done.values() if c is not None]
    if advance is not None:
        advance(len(rows) * world(), len(images))
    with held_still(model, seed):
        smoothing = _Smoothing(model, images, hashes, sigma, n0, n, batch_size, seed)
        for i, chosen, count in smoothing.counts(todo):
            radius = _radius(count, n, alpha, sigma)
            rows.append(
                Certificate(
                    example=names[i],
                    image=hashes[i],
                    label=int(labels[i]),
                    sigma=sigma,
                    count=count,
                    n=n,
                    prediction=chosen if radius > 0 else ABSTAIN,
                    radius=radius,
                )
            )
            if parts:
                write_parquet(parts / _file(names[i]), COLUMNS, [rows[-1].model_dump()])
            if advance is not None:
                advance(len(rows) * world(), len(images))
    place = {e: k for k, e in enumerate(names)}
    return tuple(sorted(gathered(rows), key=lambda c: place[c.example]))


def certified_accuracy(certificates: Sequence[Certificate], radii: Sequence[float]) -> list[Share]:
    """Compute certified accuracy: the share of images that are right and certified at each L2 radius.

    Copies of one image count as images of their own. They are known by their hashes, and a warning counts them.

    Args:
        certificates: Certificates of `certify`.
        radii: L2 radii in [0, 1] pixels.

    Returns:
        One share for each radius, with its interval.

    Raises:
        ArgumentError: `radii` is no list, or one is negative or not finite; `certificates` are anything else; or they
            are of several σ, n or alpha: each smoothed network has an accuracy of its own, and their mean belongs to no
            σ.

    Examples:
        >>> from surgeon.evaluation import Certificate, certified_accuracy
        >>> fields = dict(example=0, image="", label=1, sigma=0.25, count=99, n=100)
        >>> one = Certificate(prediction=1, radius=0.3, **fields)
        >>> [share.value for share in certified_accuracy([one], [0.1, 0.5])]
        [1.0, 0.0]
    """
    if not isinstance(radii, Iterable) or getattr(radii, "ndim", 1) == 0:
        raise ArgumentError(f"radii={radii!r} is no list of radii: give [{radii!r}]")
    if not isinstance(certificates, Iterable) or isinstance(certificates, Certificate):
        raise ArgumentError(
            f"certificates are a {type(certificates).__name__}; give a list of those of certify"
        )
    radii, certificates = [checked_number("a radius", r) for r in radii], list(certificates)
    if odd := [c for c in certificates if not isinstance(c, Certificate)]:
        raise ArgumentError(
            f"a {type(odd[0]).__name__} is among the certificates; give a list of those of certify"
        )
    sigmas = list(dict.fromkeys(c.sigma for c in certificates))
    if len(sigmas) > 1:
        raise ArgumentError(
            f"certificates are of sigma={' and '.join(f'{s:g}' for s in sigmas[:3])}: they are networks of their own; "
            "give those of one sigma"
        )
    demand_one_test(certificates)
    copies = copies_of((c.image, c.label) for c in certificates).finding()
    if copies is not None:
        warn(copies.text)
    return _shares(certificates, radii)


def _shares(certificates: Sequence[Certificate], radii: Sequence[float]) -> list[Share]:
    return [
        wilson(sum(c.prediction == c.label and c.radius >= r for c in certificates), len(certificates))
        for r in radii
    ]


def certified_curves(certificates: Sequence[Certificate]) -> tuple[Certified, ...]:
    """Compute the certified-accuracy curve of each σ, up to the radius beyond which no image is certified.

    Args:
        certificates: Certificates of `certify`, of one or several σ.

    Returns:
        One curve for each σ.

    Raises:
        ArgumentError: Those of one σ are of several n or alpha.
    """
    rows = []
    for sigma in dict.fromkeys(c.sigma for c in certificates):
        own = [c for c in certificates if c.sigma == sigma]
        demand_one_test(own)
        far = [r for r in RADII if r <= max(c.radius for c in own) + RADII[1]]
        points = tuple(Point(level=r, share=s) for r, s in zip(far, _shares(own, far), strict=True))
        silent = sum(c.prediction == ABSTAIN for c in own) / len(own)
        rows.append(Certified(sigma=sigma, images=len(own), draws=own[0].n, abstained=silent, points=points))
    return tuple(rows)


class _Smoothing:
    """Class counts under noise; draws of several images share a batch, so that all batches are full."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        hashes: list[str],
        sigma: float,
        n0: int,
        n: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.model, self.images, self.hashes, self.sigma = model, images, hashes, sigma
        self.n0, self.n, self.batch_size, self.seed = n0, n, batch_size, seed

    @torch.no_grad()
    def counts(self, todo: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Yield (index, class chosen by n0 draws, how many of n further draws agree), image by image."""
        left = dict.fromkeys(todo, self.n0 + self.n)
        # Kept on the device and read once per image: reading it per batch would make a GPU wait each time.
        finite: Tensor | None = None
        labels_of: dict[int, list[Tensor]] = {i: [] for i in todo}
        queue = list(todo)
        for pieces in self._batches(todo):
            logits = self._logits(torch.cat([x for _, x in pieces]))
            if finite is None:
                check_logits(logits, len(logits))
                finite = torch.ones((), dtype=torch.bool, device=logits.device)
            finite &= logits.isfinite().all()
            labels = logits.argmax(1)
            for (i, x), part in zip(pieces, labels.split([len(x) for _, x in pieces]), strict=True):
                labels_of[i].append(part)
                left[i] -= len(x)
            while queue and left[queue[0]] == 0:
                i = queue.pop(0)
                votes = torch.cat(labels_of.pop(i)).cpu()
                check_finite(finite)
                chosen = int(votes[: self.n0].bincount().argmax())
                yield i, chosen, int((votes[self.n0 :] == chosen).sum())

    def _batches(self, todo: Sequence[int]) -> Iterator[list[tuple[int, Tensor]]]:
        """Yield full batches of (index, noisy copies); a batch may hold the end of one image and the next."""
        pieces: list[tuple[int, Tensor]] = []
        room, device = self.batch_size, device_of(self.model)
        for i in todo:
            stream = zlib.crc32(f"{self.seed}/{self.sigma}/{self.hashes[i]}".encode())
            generator = torch.Generator(device).manual_seed(stream)
            image = self.images[i].to(device)
            left, drawn = self.n0 + self.n, torch.empty(0)
            while left:
                if len(drawn) == 0:
                    # In chunks of fixed size: a generator's numbers depend on the size of each request, and
                    # must not depend on the batch size.
                    drawn = torch.randn((min(CHUNK, left), *image.shape), generator=generator, device=device)
                count = min(len(drawn), room)
                pieces.append((i, image + self.sigma * drawn[:count]))
                drawn, left, room = drawn[count:], left - count, room - count
                if not len(drawn):
                    drawn = torch.empty(0)  # frees the memory before the next chunk is drawn
                if room == 0:
                    yield pieces
                    pieces, room = [], self.batch_size
        if pieces:
            yield pieces

    def _logits(self, x: Tensor) -> Tensor:
        """Logits of noisy pixels, without the check of their range: noise takes them out of [0, 1]."""
        unchecked = getattr(self.model, "unchecked", None)
        return unchecked(x) if unchecked is not None else self.model(x)


def _radius(count: int, n: int, alpha: float, sigma: float) -> float:
    """The radius that so many draws of n give; 0 where they are too few for a class."""
    low = clopper_pearson_low(count, n, alpha)
    return sigma * _quantile(low) if low > 0.5 else 0.0


def _file(example: int) -> str:
    return f"{example:07d}.parquet"


def _quantile(p: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(p))


def _read(folder: Path, example: int) -> Certificate | None:
    path = folder / _file(example)
    if not path.is_file():
        return None
    rows = read_rows(path, Certificate)
    if len(rows) != 1 or rows[0].example != example:
        raise ArtifactError(
            f"{path} is damaged: it holds no certificate of image {example}; delete it to make it anew"
        )
    return rows[0]
