"""What an evaluation has besides its attacks, part by part: diagnostics, curves, corruptions, noise, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.disk.files import write_json
from surgeon.evaluation.beyond.noise import noise_table
from surgeon.evaluation.beyond.shifts import corruption_table, curve
from surgeon.evaluation.diagnostics.probes import IMAGES, diagnose
from surgeon.evaluation.engine.kept import adversarial_images
from surgeon.evaluation.engine.scoring import spread
from surgeon.reading import as_model, read_json
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Corruption, Curve, Diagnosis, Drawn, NoiseRow
from surgeon.results.threat import Norm
from surgeon.results.verdict import Outcome

ATTACKS, PICTURES = "attacks", "pictures"
Progress = Callable[[str, int, int], None]


def diagnosed(settings: Evaluation) -> int:
    """How many images are to be diagnosed."""
    if settings.diagnostics is not None:
        return settings.diagnostics
    return 0 if settings.suite == "basic" else IMAGES


class Parts:
    """What the first process adds to the attacks; each part is written when it is there, and then read."""

    def __init__(
        self,
        folder: Path,
        subject: nn.Module,
        images: Tensor,
        labels: Tensor,
        settings: Evaluation,
        size: tuple[Norm, float],
        seed: int,
        tell: Progress,
    ) -> None:
        self.folder, self.subject, self.images, self.labels = folder, subject, images, labels
        self.settings, self.size, self.seed, self.tell = settings, size, seed, tell
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
        content = read_json(path)
        return (
            tuple(as_model(c, of, str(path)) for c in content)
            if isinstance(content, list)
            else as_model(content, of, str(path))
        )

    def diagnosis(
        self, sources: Mapping[str, nn.Module], batch_size: int | None, *, expectation: bool
    ) -> Diagnosis | None:
        """On images from all of the set; None where they are not asked for."""
        count = diagnosed(self.settings)
        if count == 0:
            return None
        few = spread(count, len(self.images))
        norm, eps = self.size
        return self._once(
            "diagnostics",
            lambda: diagnose(
                self.subject, self.images[few], self.labels[few], eps=eps, norm=norm, sources=sources,
                seed=self.seed, batch_size=batch_size,
            ).model_copy(update={"expectation": expectation}),
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
                adversarial_images(self.folder / ATTACKS, outcome, self.images),
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
        from surgeon.evaluation.beyond.drawing import draw

        return draw(
            self.folder / PICTURES, self.subject, network, self.images, self.labels, self.size, class_names, self.seed,
            lambda done: self.tell("pictures", done, 1),
        )  # fmt: skip
