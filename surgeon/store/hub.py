"""Download networks from the Hugging Face Hub, with huggingface_hub's own functions and cache.

Only the files that surgeon reads or writes are transferred: configuration, safetensors, the record of what
the network was trained on, and the model card.
Nothing that is downloaded is executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from surgeon.disk.folder_kinds import NETWORK, ORIGINAL, WEIGHTS
from surgeon.errors import ArtifactError
from surgeon.models.fetching import reason
from surgeon.reading import read_json
from surgeon.store.configuration import LINEAGE

PREFIX = "hf-hub:"
CARD = "README.md"
OF_WEIGHTS = (WEIGHTS, ORIGINAL)
LIBRARY = "surgeon"


def is_hub(name: str | Path) -> bool:
    """Whether a name refers to a repository of the Hugging Face Hub.

    Args:
        name: `hf-hub:owner/name` or `hf-hub:owner/name@revision` does.

    Examples:
        >>> is_hub("hf-hub:ann/lenet5"), is_hub("lenet5")
        (True, False)
    """
    return str(name).startswith(PREFIX)


def split(name: str | Path) -> tuple[str, str | None]:
    """Split a repository's name and revision.

    Args:
        name: `owner/name`, with or without `hf-hub:` in front and `@revision` at the end.

    Returns:
        (owner/name, revision); the revision is None where the name does not state one.

    Examples:
        >>> from surgeon.store.hub import split
        >>> split("hf-hub:ann/lenet5@v2")
        ('ann/lenet5', 'v2')
    """
    repository, _, revision = str(name).removeprefix(PREFIX).partition("@")
    return repository, revision or None


def fetch(
    name: str | Path, revision: str | None = None, *, files: Iterable[str] = (NETWORK, *OF_WEIGHTS, LINEAGE)
) -> Path:
    """Download a repository's files into huggingface_hub's cache, unless they are there already.

    Args:
        name: `owner/name`, also as `hf-hub:owner/name@revision`.
        revision: a branch, a tag or a commit; by default the name's, else the main branch.
        files: names of the files to download, those that the repository has.

    Returns:
        The folder in the cache.

    Raises:
        ArtifactError: the repository or revision does not exist, needs another login, or cannot be reached.
            The message says in one line what would work.
    """
    from huggingface_hub import snapshot_download

    repository, own = split(name)
    revision = revision or own
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(files),
            library_name=LIBRARY,
        )
    except Exception as error:  # told by `refuse`, which raises what it does not know
        refuse(error, repository, revision, "read")
    return Path(folder)


def folder_of(name: str | Path) -> Path | None:
    """Download a network that `surgeon push` uploaded.

    Args:
        name: a name of a model.

    Returns:
        The folder in the cache; None for a repository that only timm can read, and for other names.

    Raises:
        ArtifactError: as for `fetch`.
    """
    if not is_hub(name):
        return None
    folder = fetch(name, files=[NETWORK])
    if not _is_ours(folder):
        return None
    return fetch(split(name)[0], folder.name)  # the same commit, even if the branch moves meanwhile


def _is_ours(folder: Path) -> bool:
    if not (folder / NETWORK).is_file():
        return False
    config = read_json(folder / NETWORK)
    return isinstance(config, dict) and "architecture" in config and "format" in config


def files_of(folder: str | Path) -> list[str]:
    """The names of the files in a network's folder that are uploaded and downloaded.

    Args:
        folder: the folder.
    """
    return [n for n in (CARD, NETWORK, *OF_WEIGHTS, LINEAGE) if (Path(folder) / n).is_file()]


def pull(name: str, folder: str | Path, *, revision: str | None = None, overwrite: bool = False) -> Path:
    """Copy a network that `surgeon push` uploaded into a folder.

    The files are checked against their hashes before anything is copied.

    Args:
        name: `owner/name`, also as `hf-hub:owner/name@revision`.
        folder: the folder to write.
        revision: a branch, a tag or a commit; by default the name's, else the main branch.
        overwrite: replace a network that surgeon wrote there before.

    Returns:
        `folder` as a path.

    Raises:
        ArtifactError: as for `fetch`; the repository was not written by surgeon; or the folder exists.

    Examples:
        >>> from surgeon.store.hub import pull
        >>> pull("ann/lenet5-kap", "lenet5-kap", revision="main")  # doctest: +SKIP
        PosixPath('lenet5-kap')
    """
    import shutil

    from surgeon.ownership import new_folder, reserved
    from surgeon.store.folder import check_files

    repository, own = split(name)
    check_name(repository)
    with reserved(folder, overwrite=overwrite):
        place = fetch(repository, revision or own, files=(CARD, NETWORK, *OF_WEIGHTS, LINEAGE))
        if not _is_ours(place):
            raise ArtifactError(
                f"{repository} holds no network that surgeon wrote; if it is timm's, name it "
                f"as a model: {PREFIX}{repository}"
            )
        check_files(place)
        with new_folder(folder, overwrite=overwrite) as work:
            for file in files_of(place):
                shutil.copyfile(place / file, work / file)
    return Path(folder)


def check_name(repository: str) -> None:
    """Check that a text is a repository's name.

    Args:
        repository: the text.

    Raises:
        ArtifactError: it does not have the form owner/name.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = f"{repository} "
    if repository.count("/") != 1 or repository.endswith(" "):
        raise ArtifactError(
            f"{repository.strip()!r} is not a repository; write owner/name, of letters, digits, '-', '_' and '.'"
        )


def refuse(error: Exception, repository: str, revision: str | None, verb: str) -> NoReturn:
    """Raise an error that says in one line why a repository cannot be read or written, and what would work.

    Args:
        error: what huggingface_hub raised.
        repository: owner/name.
        revision: the revision that was asked for.
        verb: what was attempted, "read" or "written to".

    Raises:
        ArtifactError: for errors of the hub, the network and the file system; any other error is raised
            again.
    """
    form = f"owner/name, or {PREFIX}owner/name@revision"
    without = "a folder of `surgeon pull` needs no network"
    why = reason(error, revision=revision, without=without, form=form, verb=verb)
    if not why and not isinstance(error, OSError):
        raise error
    raise ArtifactError(
        f"{repository} cannot be {verb}: {why or ' '.join(str(error).split())[:200]}"
    ) from error
