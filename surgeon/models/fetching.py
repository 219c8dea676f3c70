"""Why something could not be fetched from the Hugging Face Hub or a library's server, in plain words."""

from __future__ import annotations

from urllib.error import URLError

LOGIN = "log in (`hf auth login`, or the variable HF_TOKEN)"


def reason(error: Exception, *, revision: str | None, without: str, form: str, verb: str = "read") -> str:
    """Say in plain words why a repository cannot be read or written, and what would work.

    Args:
        error: what was raised.
        revision: the revision that was asked for.
        without: what works without a network, as a clause.
        form: how a repository is written.
        verb: what was attempted, "read" or "written to".

    Returns:
        The words; empty for errors of another kind than those of the Hub and of the network.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    away = (
        f"{constants.ENDPOINT} cannot be reached (see HF_ENDPOINT, HF_HUB_OFFLINE); what was fetched before is kept, "
        f"and {without}"
    )
    status = getattr(getattr(error, "response", None), "status_code", None)
    # Special classes come first: a GatedRepoError, for instance, is a RepositoryNotFoundError too.
    if isinstance(error, HFValidationError):
        return f"write {form}"
    if isinstance(error, GatedRepoError):
        return f"it is gated: ask for access on its page, and {LOGIN}"
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {revision!r}; give a branch, a tag or a commit that its page lists"
    if isinstance(error, RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no repository of that name, or it is private: look at the name, or {LOGIN}"
    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        return away
    if isinstance(error, HfHubHTTPError) and status in (401, 403):
        return f"the token does not allow it: {LOGIN} with one that may be {verb.removesuffix(' to')} there"
    if isinstance(error, HfHubHTTPError):
        return f"{constants.ENDPOINT} answered {status or _text(error)}; try again later"
    if isinstance(error, (ConnectionError, *_transport())):
        return away
    if isinstance(error, URLError):
        return f"their server cannot be reached, or does not have them ({_text(error)}); {without}"
    return ""


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _transport() -> tuple[type[Exception], ...]:
    """The base error of huggingface_hub's HTTP client: requests before its version 1, httpx since."""
    from huggingface_hub import errors

    kind = next(c for c in errors.HfHubHTTPError.__mro__ if c.__name__ in ("HTTPError", "RequestException"))
    base = next(
        c
        for c in reversed(kind.__mro__)
        if c.__module__.partition(".")[0] == kind.__module__.partition(".")[0]
    )
    return (base,)
