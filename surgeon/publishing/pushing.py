"""Pushing a network's folder to the Hugging Face Hub: it is tried first, and gets its model card."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgeon.errors import ArtifactError
from surgeon.publishing.card import write_card
from surgeon.store.artifact import load
from surgeon.store.hub import LIBRARY, WEIGHTS, check_name, files_of, refuse, split

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
    """Upload a network's folder to a repository, which is made where there is none; returns its address.

    The folder gets a model card (README.md) first, unless it has one that somebody wrote or changed. evaluation: a
    folder of `surgeon evaluate`, whose numbers the card then has. private: of a repository that is made; one that is
    there and public is refused. revision: a branch, made where there is none. allow_code, model: as for `surgeon.load`, by
    which the folder is tried before anything is written or sent.

    Raises what `surgeon.load` raises for a folder that does not load, and as `fetch`.
    """
    from huggingface_hub import HfApi

    prepare(folder, name, evaluation, allow_code=allow_code, model=model)
    repository, own = split(name)
    revision = revision or own
    api = HfApi(library_name=LIBRARY)
    try:
        visibility: dict[str, Any] = (
            {"private": True} if private else {}
        )  # else as the account's settings say
        api.create_repo(repository, exist_ok=True, **visibility)
        if private and not api.repo_info(repository).private:
            raise ArtifactError(
                f"{repository} is there already and public; make it private on its page, or push to another name"
            )
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=files_of(folder), commit_message=message,
            revision=revision, delete_patterns=list(WEIGHTS),
        )  # fmt: skip
    except ArtifactError:
        raise
    except Exception as error:
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
    """What `push` does before anything is sent: checks of the name, loading the folder, and then the model card."""
    repository, _ = split(name)
    check_name(repository)
    load(Path(folder), model=model, mapped=True, allow_code=allow_code)
    write_card(folder, repository, evaluation)
