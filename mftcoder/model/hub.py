"""Whether the hub can be reached: asked once, since its library would try five times for every file."""

from __future__ import annotations

import logging
from functools import lru_cache

from huggingface_hub import constants, get_session

log = logging.getLogger(__name__)

PATIENCE = 5  # seconds


@lru_cache
def offline_unless_reachable() -> None:
    """Where the hub does not answer, let this process take what is in its cache, as with HF_HUB_OFFLINE=1."""
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # The library has changed its HTTP client more than once.
        log.warning("%s cannot be reached (%s): what is in the cache is taken", constants.ENDPOINT, error)
        constants.HF_HUB_OFFLINE = True  # What the libraries ask for at every file.
