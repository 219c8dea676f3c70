"""The schema of a folder's `config.json`: each key that surgeon reads, its type and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from surgeon.disk.folder_kinds import NETWORK, ORIGINAL, WEIGHTS
from surgeon.edits import Plan
from surgeon.models.naming import FOR_SURGEON
from surgeon.store.model_arguments import refusal
from surgeon.strict import Strict

CONFIG = NETWORK
LINEAGE = "lineage.json"
"""What the network was trained on; it lies in the network's folder, so that it goes wherever that goes."""
FORMAT = 1
Side = Annotated[int, Field(ge=1, le=65_536)]
Count = Annotated[int, Field(ge=0, le=2**20)]
Size = Annotated[tuple[Side, ...], Field(min_length=1, max_length=4)]
Word = Annotated[str, Field(max_length=200)]
Deviation = Annotated[float, Field(gt=0)]


def _of_files_beside(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if name not in (WEIGHTS, ORIGINAL):
            raise ValueError(f"{name!r:.80} is not a file of weights; {WEIGHTS} and {ORIGINAL} are")
    return value


Hashes = Annotated[dict[str, Word], AfterValidator(_of_files_beside)]
"""The name of a file of weights → its hash."""


class Description(Strict):
    """The keys of timm's `pretrained_cfg` that a folder may have: its images, its classes, its origin.

    Keys that state from where timm should load weights (`url`, `file`, `hf_hub_id`, `source`, `state_dict`,
    `custom_load`, …) are not among them, since the folder has the weights. Such keys and unknown ones are
    ignored, whatever they hold.
    """

    model_config = ConfigDict(extra="ignore")

    architecture: Word | None = None
    tag: Word | None = None
    input_size: Size | None = None
    test_input_size: Size | None = None
    min_input_size: Size | None = None
    fixed_input_size: bool | None = None
    interpolation: Word | None = None
    crop_pct: float | None = None
    test_crop_pct: float | None = None
    crop_mode: Word | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Deviation, ...] | None = None
    num_classes: Count | None = None
    label_offset: int | None = None
    label_names: tuple[str, ...] | None = None
    label_descriptions: dict[str, str] | None = None
    pool_size: tuple[Side, ...] | None = None
    test_pool_size: tuple[Side, ...] | None = None
    first_conv: Word | tuple[Word, ...] | None = None
    classifier: Word | tuple[Word, ...] | None = None
    license: str | None = None
    description: str | None = None
    origin_url: str | None = None
    paper_name: str | None = None
    paper_ids: str | tuple[str, ...] | None = None
    notes: str | tuple[str, ...] | None = None


def described(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Select the keys of a network's `pretrained_cfg` that a folder can store and read back.

    Args:
        cfg: timm's `pretrained_cfg`, as a mapping.
    """
    kept = {}
    for key in Description.model_fields:
        value = cfg.get(key)
        try:
            Description.model_validate({key: list(value) if isinstance(value, tuple) else value})
        except ValidationError:
            continue
        if key in cfg:
            kept[key] = value
    return kept


class Surgery(Strict):
    """A network's surgery: its record, whether it was folded, and the hashes of the files of weights."""

    folded: bool
    plan: Plan
    hashes: Hashes


class Configuration(Strict):
    """A `config.json`. Keys that surgeon does not know are ignored, since timm writes some."""

    model_config = ConfigDict(extra="ignore")

    architecture: str = Field(max_length=200, pattern=r"^\w[\w.:/@+\-]*$")
    num_classes: Count | None = None
    num_features: int | None = Field(default=None, ge=0, le=2**31)
    global_pool: Word | None = None
    pretrained_cfg: Description = Description()
    model_args: dict[str, Any] = Field(default_factory=dict)
    unwritten_args: tuple[Word, ...] = ()
    settings: dict[Word, Any] = Field(default_factory=dict, max_length=65_536)
    exchanged: dict[Word, Word] | None = Field(default=None, max_length=65_536)
    implants: dict[Word, Any] = Field(
        default_factory=dict,
        max_length=65_536,
        description="settings of modules that the surgery put in, where code changed them after it",
    )
    structure: Word | None = Field(
        default=None,
        description="fingerprint without the surgery, where code changed the network's structure after it",
    )
    layers: dict[str, Word] = Field(
        default_factory=dict,
        max_length=65_536,
        description="hashes of the modules before the surgery, where no name makes them",
    )
    code: dict[Word, Word] = Field(
        default_factory=dict,
        max_length=65_536,
        description="hashes of the source that the network's classes are written in, of no installed package",
    )
    normalisation: Literal["assumed"] | None = Field(
        default=None,
        description="assumed: the default of the name, for weights of which nobody said how their images were",
    )
    format: Literal[1] | None = None
    hashes: Hashes = Field(default_factory=dict, description="of a stock network; of a cut one, in surgery")
    surgery: Surgery | None = None

    @property
    def changed_by_fold(self) -> Plan | None:
        """The record of a surgery that was folded into layers which the architecture does not have."""
        known = self.surgery
        return known.plan if known and known.folded and known.plan.leaves_architecture else None

    @field_validator("architecture", mode="before")
    @classmethod
    def _by_its_own_name(cls, value: Any) -> Any:
        return value.removeprefix(FOR_SURGEON) if isinstance(value, str) else value

    @field_validator("pretrained_cfg", "model_args", "surgery", mode="before")
    @classmethod
    def _none(cls, value: object, info: ValidationInfo) -> object:
        empty = value is None or value == {}
        return ({} if info.field_name != "surgery" else None) if empty else value

    @model_validator(mode="after")
    def _arguments(self) -> Configuration:
        for name, why in refusal(self.architecture, self.model_args).items():
            raise ValueError(
                f"model_args: a folder may not set the argument {name!r}: {why}; nothing was read"
            )
        return self
