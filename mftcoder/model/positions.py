"""Up to which length the position embeddings of a model hold, and do not depend on anything but the position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PretrainedConfig

from mftcoder.core.errors import UserError

STRETCHED = frozenset({"dynamic", "longrope"})


def rope_types(config: PretrainedConfig) -> set[str]:
    """The kinds of rotary embeddings that a config names, one for each kind of layer at most."""
    return {str(one["rope_type"]) for one in _ropes(config) if one.get("rope_type")}


def original_length(config: PretrainedConfig) -> int | None:
    """The length, in tokens, that the model was trained on before its positions were stretched; None: not said."""
    text = config.get_text_config()
    own = [one.get("original_max_position_embeddings") for one in _ropes(config)]
    said = [getattr(text, "original_max_position_embeddings", None), *own, max_length(config)]
    return next((int(length) for length in said if length), None)


def max_length(config: PretrainedConfig) -> int | None:
    """The most tokens of a sequence; None where the architecture sets no limit."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return None if length is None else int(length)


def check_length(config: PretrainedConfig, seq_length: int) -> None:
    """Refuse sequences whose positions the model does not have, or that would depend on other sequences.

    `dynamic` and `longrope` choose their frequencies by the longest sequence of a micro-batch, and `dynamic` also by
    earlier ones; up to the original length they do not.

    Args:
        seq_length: most tokens of a training sequence, data.seq_length.

    Raises:
        UserError: `seq_length` is beyond the model's positions, or beyond the original length of stretched ones.
    """
    limit, original = max_length(config), original_length(config)
    stretched = sorted(rope_types(config) & STRETCHED)
    if stretched and original is not None and seq_length > original:
        raise UserError(
            f"data.seq_length: {seq_length} is beyond the {original} tokens up to which the {stretched[0]} position "
            "embeddings of this model stay as they are; beyond, they depend on the longest sequence of a micro-batch, "
            f"and a sample's loss on its neighbours; take data.seq_length={original} or less"
        )
    if limit is not None and seq_length > limit:
        raise UserError(
            f"data.seq_length: {seq_length} is beyond the {limit} positions of this model "
            f"(max_position_embeddings in its config); take data.seq_length={limit} or less"
        )


def _ropes(config: PretrainedConfig) -> Iterator[dict[str, Any]]:
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    return (one for one in (rope, *rope.values()) if isinstance(one, dict))
