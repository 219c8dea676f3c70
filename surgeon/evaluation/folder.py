"""A whole evaluation of one network, in a folder: attacks, diagnostics, curves, certificates, pictures; resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from surgeon.edits import Traits
from surgeon.errors import ArtifactError, DataError
from surgeon.evaluation.assessment import (
    Assessment,
    Certified,
    Corruption,
    Curve,
    Diagnosis,
    Drawn,
    NoiseRow,
    Point,
    Subject,
)
from surgeon.evaluation.certification import Certificate, certified_accuracy, certify
from surgeon.evaluation.diagnostics import IMAGES, diagnose, two_passes
from surgeon.evaluation.engine import evaluate
from surgeon.evaluation.fingerprints import image_hashes, joined, weights_hash
from surgeon.evaluation.noise import noise_table
from surgeon.evaluation.normalized import Normalized
from surgeon.evaluation.quiet import held_still
from surgeon.evaluation.scoring import check_model, score
from surgeon.evaluation.shifts import corruption_table, curve
from surgeon.evaluation.speed import images_per_second
from surgeon.evaluation.store import IMAGES as ADVERSARIAL
from surgeon.evaluation.store import Store, read_outcome
from surgeon.evaluation.subject import folded
from surgeon.evaluation.suites import DRAWS, EOT, suite
from surgeon.evaluation.summary import Summary, summarize
from surgeon.evaluation.verdict import COLUMNS, Outcome
from surgeon.files import claim, take, write_csv, write_json, write_parquet
from surgeon.models import name_of, normalization_of
from surgeon.processes import everyone, first
from surgeon.recipe import Evaluation
from surgeon.surgery import revert
from surgeon.surgery.tree import surgery_of

SETTINGS, RESULT, VERDICTS, CERTIFICATES, ROBUSTBENCH = (
    "settings.json", "evaluation.json", "verdicts", "certificates.parquet", "model_info.json",
)  # fmt: skip
ATTACKS, PICTURES = "attacks", "pictures"
RADII = tuple(k / 20 for k in range(81))
Progress = Callable[[str, int, int], None]


def assess(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Evaluation,
    folder: str | Path,
    *,
    sources: Mapping[str, nn.Module] | None = None,
    name: str = "",
    data: Mapping[str, Any] | None = None,
    examples: Sequence[int] | None = None,
    class_names: Sequence[str] = (),
    made: Mapping[str, Any] | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Assessment:
    """Evaluate a network as `settings` say, into `folder`; each finished part stays, and the same call goes on.

    network: cut or not, on its device; it is normalised by its own configuration, and folded first where it folds
    exactly. images: (N, C, H, W) float32 in [0, 1]. labels: (N,). sources: networks by name to transfer attacks from.
    data: what the images are, for the record. examples: their numbers there. probabilities: the network ends in a softmax.
    progress: called with (what, done, total).

    The folder then has evaluation.json (all of it), verdicts.parquet and .csv, certificates.parquet, pictures/,
    model_info.json (as RobustBench has it), and under attacks/ a file for each block.

    Raises ArtifactError for a folder that holds something else, or another evaluation; DataError and VerificationError as
    `evaluate`.
    """
    folder = Path(folder)
    check_model(network)
    tell = progress or (lambda what, done, total: None)
    record = surgery_of(network)
    mean, std = normalization_of(network) or (None, None)
    rewritten = Normalized(network, mean, std, probabilities=probabilities)
    with torch.no_grad(), held_still(network, seed):
        classes = score(rewritten, images[:8], labels[:8]).classes if len(images) else 0
    if not len(images):
        raise DataError("there are no images to evaluate on")
    few = rewritten.normalize(images[:16].to(_device(network)))
    attacked = folded(network, few)
    subject = Normalized(attacked.model, mean, std, probabilities=probabilities)
    with held_still(subject, seed):
        differs = two_passes(subject, images[:16].to(_device(network))) > 1e-4
    traits = record.traits if record else None
    random = differs or (traits is not None and traits.stochastic == "always")
    if settings.mode != "auto":
        chosen = settings.mode == "random"
    else:
        chosen = random
    victims = {n: _subject(m) for n, m in (sources or {}).items()}
    operations = tuple(dict.fromkeys(e.operation.split("#")[0] for e in record.edits)) if record else ()
    attacks = suite(
        settings, classes=classes, random=chosen, operations=operations, sources=victims, seed=seed
    )
    described = Subject(
        name=name or name_of(network), model=name_of(network), recipe=record.recipe if record else "", operations=operations,
        weights=weights_hash(network), parameters=sum(p.numel() for p in network.parameters()), classes=classes, mean=mean,
        std=std, input_size=tuple(images.shape[1:]), folded=attacked.error is not None, fold_error=attacked.error,
        random=random, mode="random" if chosen else "standard",
    )  # fmt: skip
    of = {
        "images": joined([*image_hashes(images), *map(str, labels.tolist())]),
        "count": len(images),
        **(data or {}),
    }
    asked = {
        "evaluation": settings.model_dump(mode="json"), "weights": described.weights, "data": of, "seed": seed,
        "sources": {n: weights_hash(m) for n, m in victims.items()},
    }  # fmt: skip
    if (folder / RESULT).is_file():
        claim(folder, SETTINGS, json.loads(json.dumps(asked)), "an evaluation")
        return read_assessment(folder)
    if first():
        take(folder, SETTINGS, json.loads(json.dumps(asked)), "an evaluation")
    everyone()
    claim(folder, SETTINGS, json.loads(json.dumps(asked)), "an evaluation")
    keep = settings.keep if settings.keep is not None else settings.suite == "paper"
    outcome = evaluate(
        subject, images, labels, attacks, sources=victims, draws=DRAWS if chosen else 1, seed=seed, batch_size=batch_size,
        store=Store(folder / ATTACKS, keep=keep), examples=examples,
        advance=lambda done, total: tell("attacks on blocks", done, total),
    )  # fmt: skip
    certificates = _certificates(subject, images, labels, settings, folder, examples, seed, tell)
    if first():
        rest = _Rest(folder, subject, images, labels, settings, seed, tell)
        diagnosis = rest.diagnosis(victims, batch_size)
        found = Assessment(
            subject=_timed(described, network, attacked.model, rewritten, images), settings=asked, data=of,
            made=dict(made or {}), summary=_summary(outcome, traits, diagnosis, settings, random, chosen),
            diagnosis=diagnosis, curves=rest.curves(), corruptions=rest.corruptions(), noise=rest.noise(outcome, keep),
            certified=_certified(certificates), plan=record,
            notes=_notes(described, traits, settings, operations, victims),
        )  # fmt: skip
        pictures, skipped = rest.pictures(network, outcome, class_names)
        found = found.model_copy(update={"pictures": pictures, "notes": (*found.notes, *skipped)})
        _write(folder, found, outcome, certificates)
    everyone()
    return read_assessment(folder)


def read_assessment(folder: str | Path) -> Assessment:
    """What a folder's evaluation found. One that is not finished is summed up from the blocks that are there: incomplete.

    Raises ArtifactError for a folder without an evaluation.
    """
    path = Path(folder) / RESULT
    if not path.is_file():
        blocks = Path(folder) / ATTACKS
        if blocks.is_dir():
            outcome = read_outcome(blocks)
            state = (
                f"{len(outcome.missing)} blocks of attacks are missing"
                if outcome.missing
                else "its attacks are done"
            )
            raise ArtifactError(
                f"{folder} holds an evaluation that is not finished ({state}): run the same command again"
            )
        raise ArtifactError(f"{folder} holds no evaluation: there is no {RESULT} in it")
    try:
        return Assessment.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None


class _Rest:
    """What the first process adds to the attacks; each part is written when it is there, and then read."""

    def __init__(
        self,
        folder: Path,
        subject: nn.Module,
        images: Tensor,
        labels: Tensor,
        settings: Evaluation,
        seed: int,
        tell: Progress,
    ) -> None:
        self.folder, self.subject, self.images, self.labels = folder, subject, images, labels
        self.settings, self.seed, self.tell = settings, seed, tell
        strong = settings.suite in ("standard", "paper")
        self.beyond = strong if settings.beyond is None else settings.beyond

    def _once(self, name: str, make: Callable[[], Any], of: Any) -> Any:
        """What make() gives, from the file where it was made before; `of` reads it back from JSON."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            self.tell(name, 0, 1)
            made = make()
            content = (
                [m.model_dump(mode="json") for m in made]
                if isinstance(made, (tuple, list))
                else made.model_dump(mode="json")
            )
            write_json(path, content)
            self.tell(name, 1, 1)
        content = json.loads(path.read_text(encoding="utf-8"))
        return (
            tuple(of.model_validate(c) for c in content)
            if isinstance(content, list)
            else of.model_validate(content)
        )

    def diagnosis(self, sources: Mapping[str, nn.Module], batch_size: int | None) -> Diagnosis | None:
        """On the first images; None where they are not asked for."""
        basic = self.settings.suite == "basic"
        count = (0 if basic else IMAGES) if self.settings.diagnostics is None else self.settings.diagnostics
        if count == 0:
            return None
        spread = torch.linspace(0, len(self.images) - 1, min(count, len(self.images))).long()
        return self._once(
            "diagnostics",
            lambda: diagnose(
                self.subject, self.images[spread], self.labels[spread], eps=self.settings.eps, norm=self.settings.norm,
                sources=sources, seed=self.seed, batch_size=batch_size,
            ),
            Diagnosis,
        )  # fmt: skip

    def curves(self) -> tuple[Curve, ...]:
        """Accuracy against noise and against patches."""
        if not self.beyond:
            return ()
        levels = {
            "gaussian": self.settings.gaussian,
            "uniform": self.settings.uniform,
            "patches": self.settings.patches,
        }
        side = min(self.images.shape[-2:])

        def make() -> list[Curve]:
            return [
                curve(self.subject, self.images, self.labels, kind, [v for v in many if kind != "patches" or v <= side], seed=self.seed)
                for kind, many in levels.items()
                if many
            ]  # fmt: skip

        return self._once("curves", make, Curve)

    def corruptions(self) -> tuple[Corruption, ...]:
        """Fifteen kinds, five severities."""
        if not self.beyond or self.images.shape[1] not in (1, 3):
            return ()
        return self._once(
            "corruptions",
            lambda: corruption_table(self.subject, self.images, self.labels, seed=self.seed),
            Corruption,
        )

    def noise(self, outcome: Outcome, kept: bool) -> tuple[NoiseRow, ...]:
        """Noise at inference on the adversarial images that were stored."""
        if not kept:
            return ()
        return self._once(
            "noise",
            lambda: noise_table(
                self.subject,
                adversarial_images(self.folder, outcome, self.images),
                self.labels,
                seed=self.seed,
            ),
            NoiseRow,
        )

    def pictures(
        self, network: nn.Module, outcome: Outcome, class_names: Sequence[str]
    ) -> tuple[tuple[Drawn, ...], tuple[str, ...]]:
        """Pictures of what the surgery did, and why some could not be made."""
        wanted = self.settings.suite != "basic" if self.settings.pictures is None else self.settings.pictures
        if not wanted:
            return (), ()
        from surgeon.evaluation.drawing import draw

        return draw(
            self.folder / PICTURES, self.subject, network, self.images, self.labels, self.settings, class_names, self.seed,
            lambda: self.tell("pictures", 0, 1),
        )  # fmt: skip


def adversarial_images(folder: Path, outcome: Outcome, images: Tensor) -> Tensor:
    """(N, C, H, W): for each image what turned it first, in the main part of the suite, else the image as it is.

    Raises ArtifactError where the images were not stored.
    """
    groups = [a.group for a in outcome.attacks]
    main = "standard" if "standard" in groups else groups[0]
    numbers = [n for n, a in enumerate(outcome.attacks) if a.group == main]
    found = images.clone()
    place = {v.example: i for i, v in enumerate(v for v in outcome.verdicts if v.attack == "none")}
    turned = {(v.attack, v.seed, v.eps, v.example) for v in outcome.verdicts if v.success and v.group == main}
    for number in reversed(numbers):
        attack = outcome.attacks[number]
        for path in sorted((folder / ATTACKS / ADVERSARIAL).glob(f"{number:03d}-*.safetensors")):
            with safe_open(path, "pt") as file:
                some = file.get_tensor("images")
                ids = [int(i) for i in file.metadata()["examples"].split(",") if i]
            for i, image in zip(ids, some, strict=True):
                if (attack.name, attack.seed, attack.eps, i) in turned:
                    found[place[i]] = image
    if not (folder / ATTACKS / ADVERSARIAL).is_dir() and turned:
        raise ArtifactError(
            f"{folder} keeps no adversarial images: evaluate with keep=true into another folder"
        )
    return found


def _subject(network: nn.Module) -> Normalized:
    mean, std = normalization_of(network) or (None, None)
    return Normalized(network, mean, std)


def _device(network: nn.Module) -> torch.device:
    from surgeon.evaluation.scoring import device_of

    return device_of(network)


def _certificates(
    subject: nn.Module, images: Tensor, labels: Tensor, settings: Evaluation, folder: Path, examples: Sequence[int] | None,
    seed: int, tell: Progress,
) -> list[Certificate]:  # fmt: skip
    n = min(settings.certify_samples, len(images))
    found: list[Certificate] = []
    for sigma in settings.certify:
        found += certify(
            subject, images[:n], labels[:n], sigma=sigma, n=settings.certify_draws, seed=seed, examples=examples[:n] if examples else None,
            folder=folder / f"certification-{sigma:g}", advance=lambda done, total: tell("certificates", done, total),
        )  # fmt: skip
    return found


def _certified(certificates: Sequence[Certificate]) -> tuple[Certified, ...]:
    rows = []
    for sigma in dict.fromkeys(c.sigma for c in certificates):
        own = [c for c in certificates if c.sigma == sigma]
        far = [r for r in RADII if r <= max(c.radius for c in own) + 0.05]
        points = tuple(
            Point(level=r, share=s) for r, s in zip(far, certified_accuracy(own, far), strict=True)
        )
        silent = sum(c.prediction < 0 for c in own) / len(own)
        rows.append(Certified(sigma=sigma, images=len(own), draws=own[0].n, abstained=silent, points=points))
    return tuple(rows)


def _timed(
    described: Subject, network: nn.Module, attacked: nn.Module, rewritten: Normalized, images: Tensor
) -> Subject:
    """With the speed of what would be shipped, and of the network before the surgery where it can be had."""
    x = rewritten.normalize(images[:64].to(_device(network)))
    models = [attacked]
    if surgery_of(network) is not None:
        models.append(revert(network))
    found = images_per_second(models, x)
    return described.model_copy(
        update={
            "images_per_second": found[0],
            "stock_images_per_second": found[1] if len(found) > 1 else None,
        }
    )


def _summary(
    outcome: Outcome,
    traits: Traits | None,
    diagnosis: Diagnosis | None,
    settings: Evaluation,
    random: bool,
    chosen: bool,
) -> Summary:
    failed: list[str] = []
    if diagnosis is not None:
        # that the model is random is answered by the attacks on its expectation
        answered = ("two-passes", "finite-differences") if chosen else ()
        failed = [f"{c.reason} ({c.code})" for c in diagnosis.checks if c.failed and c.code not in answered]
    elif settings.suite != "basic":
        failed = ["no diagnostics were made"]
    return summarize(outcome, traits, failed=failed, random=random)


def _notes(
    described: Subject,
    traits: Traits | None,
    settings: Evaluation,
    operations: Sequence[str],
    sources: Mapping[str, Any],
) -> tuple[str, ...]:
    notes = []
    if described.folded:
        notes.append(
            f"the network folds exactly: the stock network it folds into was attacked (logits differ by {described.fold_error:.1e})"
        )
    if traits is not None and traits.stochastic == "train":
        notes.append(
            "its noise is a matter of training: nothing of it is left in evaluation, so one draw is all there is"
        )
    if described.mode == "random":
        notes.append(
            f"the network is random at inference: attacks average {EOT} draws, verdicts are by majority of {DRAWS}"
        )
    if traits is not None and traits.masked and not sources:
        notes.append(
            "masked units cut off gradients: give other networks as sources (--source) for transfer attacks"
        )
    return tuple(notes)


def _write(folder: Path, found: Assessment, outcome: Outcome, certificates: Sequence[Certificate]) -> None:
    rows = outcome.rows()
    write_parquet(folder / f"{VERDICTS}.parquet", COLUMNS, rows)
    write_csv(folder / f"{VERDICTS}.csv", list(COLUMNS), ([r[c] for c in COLUMNS] for r in rows))
    if certificates:
        from surgeon.evaluation.certification import COLUMNS as OF_CERTIFICATES

        write_parquet(folder / CERTIFICATES, OF_CERTIFICATES, [c.model_dump() for c in certificates])
    write_json(folder / ROBUSTBENCH, model_info(found))
    write_json(folder / RESULT, found.model_dump(mode="json"))  # last: it says that all is there


def model_info(found: Assessment) -> dict[str, Any]:
    """What RobustBench keeps of a model: its `model_info` entry, with nulls where it is for the authors to say."""
    s, worst = found.summary, found.summary.headline
    first_attack = next(iter(s.rows), None)
    return {
        "link": None, "name": f"{found.subject.name}", "authors": None, "additional_data": None, "number_forward_passes": 1,
        "dataset": str(found.data.get("source", "")), "venue": None,
        "architecture": found.subject.model + (f" with {found.subject.recipe}" if found.subject.recipe else ""),
        "eps": first_attack.eps if first_attack else None, "norm": {"linf": "Linf", "l2": "L2"}.get(first_attack.norm) if first_attack else None,
        "clean_acc": f"{100 * s.clean.value:.2f}",
        "reported": f"{100 * worst.share.value:.2f}" if worst else None,
        "autoattack_acc": f"{100 * worst.share.value:.2f}" if worst and found.settings["evaluation"]["suite"] in ("standard", "paper") else None,
        "unreliable": not bool(found.reliable), "footnote": "; ".join(s.refused) or (worst.text if worst else None),
    }  # fmt: skip
