"""Networks of which a part has had surgery by itself: a folder keeps the record of the whole alone."""

from __future__ import annotations

from torch import nn

from surgeon.errors import SurgeryError
from surgeon.surgery.door import part_cut, surgery_of


def demand_whole(model: nn.Module) -> None:
    """Check that the record of a network tells of all the surgery in it.

    Args:
        model: A network that is to be saved.

    Raises:
        SurgeryError: A part has had surgery by itself, of which the folder would tell nothing.
    """
    if part := part_cut(model):
        raise SurgeryError(
            f"this {type(model).__name__} cannot be saved: {part} in it has had surgery by itself, and a folder keeps "
            f"the record of the network that is saved alone. surgeon.save({part}, folder) saves that one, and "
            f"torch.save(model.state_dict(), file) the weights of the whole, to be loaded into one that is built and "
            f"cut again"
        )


def demand_uncut(model: nn.Module) -> None:
    """Check that a network is as it was before any surgery.

    Args:
        model: A network that a folder's surgery and weights are to go onto.

    Raises:
        SurgeryError: It, or a part of it, has had surgery.
    """
    record, part = surgery_of(model), part_cut(model)
    if record is None and not part:
        return
    what, way = (f"this {type(model).__name__}", "model") if record is not None else (f"{part} in it", part)
    raise SurgeryError(
        f"model=… is the network as it was before any surgery, and {what} has had surgery: "
        f"give a network with surgeon.revert({way}) there, or one that is built anew"
    )
