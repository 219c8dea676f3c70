"""The parts of an evaluation besides its attacks: diagnostics, curves, corruptions, noise and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.data.shifted import ShiftSet
from surgeon.disk.files import write_json
from surgeon.evaluation.beyond.shifts import corruption_table, curve
from surgeon.evaluation.beyond.under_noise import noise_table
from surgeon.evaluation.diagnostics.probes import IMAGES, diagnose
from surgeon.evaluation.engine.kept import adversarial_images
from surgeon.evaluation.engine.scoring import spread
from surgeon.reading import as_model, read_json
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Corruption, Curve, Diagnosis, Drawn, NoiseRow
from surgeon.results.flags import Flags
from surgeon.results.kinds import Norm
from surgeon.results.shifted import Shift
from surgeon.results.verdict import Outcome

ATTACKS, PICTURES, SHIFTS = "attacks", "pictures", "shifts"
Progress = Callable[[str, int, int], None]


def diagnosed(settings: Evaluation) -> int:
    """Return how many images the diagnostics use; 0 means no diagnostics.

    Args:
        settings: Settings of the evaluation. By default suites other than basic diagnose 128 images.

    Returns:
        The number of images.
    """
    if settings.diagnostics is not None:
        return settings.diagnostics
    return 0 if settings.suite == "basic" else IMAGES


def beyond(settings: Evaluation) -> bool:
    """Return whether noise, patch and corruption curves are measured.

    Args:
        settings: Settings of the evaluation. By default the suites standard and paper measure them.
    """
    return settings.suite in ("standard", "paper") if settings.beyond is None else settings.beyond


class Parts:
    """Everything that the first process adds to the attacks.

    Each part is written to a JSON file when it is finished, and read from there by a later run.

    Args:
        folder: The evaluation's folder.
        subject: The attacked model, of [0, 1] pixels.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        settings: Settings of the evaluation.
        sizes: Norm and ε of the evaluation, of each norm of a union; what is not diagnostics is of the first.
        seed: Seed of all random choices.
        tell: Called with (part, done, total).
    """

    def __init__(
        self,
        folder: Path,
        subject: nn.Module,
        images: Tensor,
        labels: Tensor,
        settings: Evaluation,
        sizes: Sequence[tuple[Norm, float]],
        seed: int,
        tell: Progress,
    ) -> None:
        self.folder, self.subject, self.images, self.labels = folder, subject, images, labels
        self.settings, self.sizes, self.size, self.seed, self.tell = settings, sizes, sizes[0], seed, tell
        self.beyond = beyond(settings)

    def _once(self, name: str, make: Callable[[], Any], of: Any) -> Any:
        """Return make()'s result, read from the part's file if it exists; `of` is the class to read it as."""
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
        content = read_json(path)
        return (
            tuple(as_model(c, of, str(path)) for c in content)
            if isinstance(content, list)
            else as_model(content, of, str(path))
        )

    def diagnosis(
        self, sources: Mapping[str, nn.Module], batch_size: int | None, *, expectation: bool
    ) -> Diagnosis | None:
        """Diagnose the model on images spread over the whole set.

        Args:
            sources: Other models by name, whose attacks are transferred.
            batch_size: Images in one forward pass; None for all.
            expectation: Whether the evaluation's attacks averaged over the model's randomness.

        Returns:
            The diagnosis, or None if the settings do not ask for one.
        """
        count = diagnosed(self.settings)
        if count == 0:
            return None
        few = spread(count, len(self.images))

        def make() -> Diagnosis:
            checks = [
                diagnose(
                    self.subject,
                    self.images[few],
                    self.labels[few],
                    eps=eps,
                    norm=norm,
                    sources=sources,
                    seed=self.seed,
                    batch_size=batch_size,
                )
                for norm, eps in self.sizes
            ]
            return Diagnosis.of_union(checks).model_copy(update={"expectation": expectation})

        return self._once("diagnostics", make, Diagnosis)

    def flags(self) -> Flags | None:
        """Measure what AutoAttack would warn of, on the images of the diagnostics; None without diagnostics."""
        count = diagnosed(self.settings)
        if count == 0:
            return None
        few = spread(count, len(self.images))
        norm, eps = self.size

        def make() -> Flags:
            from surgeon.evaluation.diagnostics.flags import autoattack_flags

            return autoattack_flags(
                self.subject, self.images[few], self.labels[few], eps=eps, norm=norm, seed=self.seed
            )

        return self._once("flags", make, Flags)

    def curves(self) -> tuple[Curve, ...]:
        """Measure accuracy against levels of noise and against patch shuffling; () if not asked for."""
        if not self.beyond:
            return ()
        side = min(self.images.shape[-2:])
        levels: dict[str, tuple[float, ...]] = {
            "gaussian": self.settings.gaussian,
            "uniform": self.settings.uniform,
            "patches": tuple(n for n in self.settings.patches if n <= side),
        }

        def make() -> list[Curve]:
            return [
                curve(
                    self.subject,
                    self.images,
                    self.labels,
                    kind,
                    many,
                    seed=self.seed,
                )
                for kind, many in levels.items()
                if many
            ]

        return self._once("curves", make, Curve)

    def corruptions(self) -> tuple[Corruption, ...]:
        """Measure accuracy under fifteen common corruptions at five severities; () if not asked for."""
        if not self.beyond or self.images.shape[1] not in (1, 3):
            return ()
        return self._once(
            "corruptions",
            lambda: corruption_table(self.subject, self.images, self.labels, seed=self.seed),
            Corruption,
        )

    def shifts(self, opened: Sequence[ShiftSet], class_names: Sequence[str]) -> tuple[Shift, ...]:
        """Measure accuracy on published shifted sets; () where the settings do not name any.

        Args:
            opened: The sets, in the order of the settings.
            class_names: Names of the network's outputs; empty for unknown.
        """
        if not opened:
            return ()
        from surgeon.evaluation.beyond.published import measured

        def make() -> list[Shift]:
            return [
                measured(
                    self.subject,
                    one,
                    tuple(self.images.shape[1:]),
                    class_names=class_names,
                    samples=self.settings.shift_samples,
                    seed=self.seed,
                    folder=self.folder / SHIFTS / str(number),
                    tell=self.tell,
                )
                for number, one in enumerate(opened)
            ]

        return self._once("shifts", make, Shift)

    def noise(self, outcome: Outcome, kept: bool) -> tuple[NoiseRow, ...]:
        """Measure accuracy on the stored adversarial images with noise added at inference.

        Args:
            outcome: The evaluation's verdicts.
            kept: Whether adversarial images were stored.

        Returns:
            The rows of the table; () if the images were not stored.
        """
        if not kept:
            return ()
        return self._once(
            "noise",
            lambda: noise_table(
                self.subject,
                adversarial_images(self.folder / ATTACKS, outcome, self.images),
                self.labels,
                seed=self.seed,
            ),
            NoiseRow,
        )

    def pictures(
        self, network: nn.Module, outcome: Outcome, class_names: Sequence[str]
    ) -> tuple[tuple[Drawn, ...], tuple[str, ...]]:
        """Draw the pictures that explain what the surgery did.

        Args:
            network: The network as it was given, before folding.
            outcome: The evaluation's verdicts.
            class_names: Names of the classes; empty for numbers.

        Returns:
            (pictures, one sentence for each picture that could not be made).
        """
        wanted = self.settings.suite != "basic" if self.settings.pictures is None else self.settings.pictures
        if not wanted:
            return (), ()
        from surgeon.evaluation.beyond.drawing import draw

        return draw(
            self.folder / PICTURES,
            self.subject,
            network,
            self.images,
            self.labels,
            self.size,
            class_names,
            self.seed,
            lambda done: self.tell("pictures", done, 1),
        )
