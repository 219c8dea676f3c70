"""Upload a network's folder to the Hugging Face Hub, after loading it once and writing its model card."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgeon.errors import ArtifactError
from surgeon.methods.annealed import in_part
from surgeon.publishing.card import write_card
from surgeon.publishing.lineage import as_published
from surgeon.store.artifact import load
from surgeon.store.configuration import LINEAGE
from surgeon.store.hub import LIBRARY, OF_WEIGHTS, check_name, files_of, refuse, split

if TYPE_CHECKING:
    from torch import nn


def push(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    evaluation: str | Path | None = None,
    message: str = "A network from surgeon",
    revision: str | None = None,
    allow_code: Iterable[str] = (),
    model: nn.Module | None = None,
) -> str:
    """Upload a network's folder to a repository, which is created if it does not exist.

    The folder first gets a model card (README.md), unless it has one that somebody wrote or changed. What the
    network was trained on (lineage.json) goes with it, without paths of this machine.

    Args:
        folder: the network's folder.
        name: `owner/name`, with `@revision` at the end for a branch.
        private: create the repository as private. An existing public one is refused.
        evaluation: a folder of `surgeon evaluate`, whose results the card shows.
        message: the commit's message.
        revision: the branch to write to, created if it does not exist; by default the name's, else the main
            one.
        allow_code: modules that the folder may import, as for `surgeon.load`.
        model: the stock network, as for `surgeon.load`. The folder is loaded once before anything is sent.

    Returns:
        The address of the commit, or of the repository.

    Raises:
        ArtifactError: the folder does not load (see `surgeon.load`), or the repository cannot be written.

    Examples:
        >>> from surgeon.publishing.pushing import push
        >>> push("lenet5-kap", "ann/lenet5-kap", evaluation="results")  # doctest: +SKIP
    """
    from huggingface_hub import HfApi

    prepare(folder, name, evaluation, allow_code=allow_code, model=model)
    repository, own = split(name)
    revision = revision or own
    api = HfApi(library_name=LIBRARY)
    try:
        visibility: dict[str, Any] = {"private": True} if private else {}  # otherwise the account's default
        api.create_repo(repository, exist_ok=True, **visibility)
        if private and not api.repo_info(repository).private:
            raise ArtifactError(
                f"{repository} is there already and public; make it private on its page, or push to another name"
            )
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        # A network pushed before may have left an original.safetensors or lineage.json that this one does not have.
        with as_published(Path(folder)) as place:
            done = api.upload_folder(
                repo_id=repository,
                folder_path=place,
                allow_patterns=files_of(place),
                commit_message=message,
                revision=revision,
                delete_patterns=[*OF_WEIGHTS, LINEAGE],
            )
    except ArtifactError:
        raise
    except Exception as error:  # told by `refuse`, which raises what it does not know
        refuse(error, repository, revision, "written to")
    return str(getattr(done, "commit_url", None) or f"{api.endpoint}/{repository}")


def prepare(
    folder: str | Path,
    name: str,
    evaluation: str | Path | None = None,
    *,
    allow_code: Iterable[str] = (),
    model: nn.Module | None = None,
) -> None:
    """Do what `push` does before anything is sent: check the name, load the folder, write the model card.

    Args:
        folder: the network's folder.
        name: `owner/name`, with `@revision` at the end for a branch.
        evaluation: a folder of `surgeon evaluate`, whose results the card shows.
        allow_code: modules that the folder may import, as for `surgeon.load`.
        model: the stock network, as for `surgeon.load`.

    Raises:
        ArtifactError: the name is not valid, the folder does not load, or the evaluation is of other weights.
    """
    repository, _ = split(name)
    check_name(repository)
    network = load(Path(folder), model=model, mapped=True, allow_code=allow_code)
    write_card(folder, repository, evaluation, notes=tuple(filter(None, [in_part(network)])))
