"""Networks by name, and facts about a network: name, input size, classes, normalisation."""

from typing import TYPE_CHECKING

from surgeon.lazy import lazily

_FACTS, _CREATING = "surgeon.models.facts", "surgeon.models.creating"
_HOMES = {
    "create_model": _CREATING,
    "is_known": _CREATING,
    "list_models": _CREATING,
    "in_channels_of": _FACTS,
    "input_size_of": _FACTS,
    "input_std_of": _FACTS,
    "name_of": _FACTS,
    "normalization_of": _FACTS,
    "normalized": "surgeon.models.pixels",
    "num_classes_of": _FACTS,
    "set_normalization": "surgeon.models.normalisation",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605

if TYPE_CHECKING:
    from surgeon.models.creating import create_model as create_model
    from surgeon.models.creating import is_known as is_known
    from surgeon.models.creating import list_models as list_models
    from surgeon.models.facts import in_channels_of as in_channels_of
    from surgeon.models.facts import input_size_of as input_size_of
    from surgeon.models.facts import input_std_of as input_std_of
    from surgeon.models.facts import name_of as name_of
    from surgeon.models.facts import normalization_of as normalization_of
    from surgeon.models.facts import num_classes_of as num_classes_of
    from surgeon.models.normalisation import set_normalization as set_normalization
    from surgeon.models.pixels import normalized as normalized

__getattr__, __dir__ = lazily(__name__, _HOMES)
