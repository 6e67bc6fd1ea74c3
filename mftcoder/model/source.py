"""How the libraries are to read a model: from a directory, from the hub, or from the hub's cache alone."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, try_to_load_from_cache

from mftcoder.core.errors import UserError

HUB_TIMEOUT = 5  # seconds

log = logging.getLogger(__name__)


def hub_options(source: str, revision: str | None, *, trust_remote_code: bool) -> dict[str, Any]:
    """What every `from_pretrained` takes to read from `source`, a directory or a hub id.

    Remote code runs only when asked for, and only from the one commit that was named.

    Raises:
        UserError: `trust_remote_code` without a commit of a hub repository.
    """
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if Path(source).is_dir():
        return options
    if trust_remote_code:
        if not re.fullmatch("[0-9a-f]{40}", revision or ""):
            raise UserError(
                f"model.trust_remote_code=true runs code from {source}, so model.revision must be the commit that "
                f"you have read, as 40 hex digits, not {revision!r}"
            )
        options["code_revision"] = revision
    return {**options, "revision": revision or "main", "local_files_only": not _hub_answers()}


def cached_commit(source: str, revision: str | None) -> str | None:
    """The commit that a revision of a hub repository stands for in this machine's cache; None for a directory."""
    if Path(source).is_dir():
        return None
    file = try_to_load_from_cache(source, "config.json", revision=revision or "main")
    return Path(file).parent.name if isinstance(file, str) else None


@lru_cache
def _hub_answers() -> bool:
    """Whether the hub can be reached; asked once, since its library would retry five times for every file."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as error:  # The library has changed its HTTP client more than once.
        log.warning("%s cannot be reached (%s); only cached files are used", constants.ENDPOINT, error)
        return False
    return True


def unloadable(what: str, source: str, why: str) -> UserError:
    """The error for a model, tokenizer or config that cannot be read from `source`."""
    return UserError(
        f"model.pretrained_model_path: the {what} of {source!r} cannot be loaded: {why.strip()}\n"
        "It must be a directory with config.json, *.safetensors (pickled weights are refused) and tokenizer files, or "
        "a hub id that this machine can reach or has in its cache (HF_HUB_OFFLINE=1 looks in the cache alone)."
    )
