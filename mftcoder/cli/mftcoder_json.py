"""The arguments of MFTCoder's JSON files: what each meant there, and what says the same here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mftcoder.core.errors import UserError, raise_faults

ABSENT = "???"
# MFTCoder's own defaults (MftTrainArgs at v0.5), which a file does not repeat.
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("data_paths", "output_dir", "tb_dir", "pretrained_model_path", "model_type")),
    **{"load_raw_dataset": True, "task_weights": None, "data_weights": None, "data_split": "98,2,0"},
    **{"padding_mode": "padding", "tokenize_mode": "sft", "weighted_loss_mode": "case3", "peft_type": "qlora"},
    **{"quantization": "4bit", "lora_rank": 96, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": None},
    **{"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "tokenizer_type": "AutoTokenizer"},
    **{"learning_rate": 5e-5, "min_lr": 5e-6, "weight_decay": 0.01, "gradient_accumulation_steps": 1},
    **{"lr_scheduler_type": "cosine", "num_warmup_steps": 0.05, "num_train_epochs": 4, "max_train_steps": None},
    **{"seed": 1234, "seq_length": 4096, "resume_from_checkpoint": None, "auto_resume": True, "log_interval": 10},
    **{"checkpointing_steps": 100, "evaluation_steps": 100, "epoch_checkpointing": False},
    **{"shuffle_before_split": True, "early_stopping": True, "early_stopping_stall_num": 5, "saving_limit": None},
    **{"use_dynamic_padding": True, "coba_warmup_steps": 100, "coba_history_length": 200, "coba_tau": 5},
    **{"coba_update_interval": 1, "coba_sample_valid_num": 1, "attn_implementation": "flash_attention_2"},
    **{"role_markers": None, "distributed_type": None, "init_timeout_seconds": 3600, "low_cpu_mem_usage": True},
    **{"use_random_sampler": True, "use_xformers": True, "trust_remote_code": True, "use_slow_tokenizer": False},
    **{"weight_by_num_documents": True, "make_vocab_size_divisible_by": 32, "model_parallel_size": 1},
    "world_size": 8,
}
UNREAD = "MFTCoder never read it"
GONE = {
    "model_type": "the model's own config.json says it",
    "load_raw_dataset": "JSON lines are always read; of .bin files, give those that they were made of",
    "data_weights": "MFTCoder set all to 1; data.tasks.<task>.share=… gives a task its share of the tokens",
    "tokenizer_type": "always AutoTokenizer",
    "resume_from_checkpoint": "MFTCoder's checkpoints hold weights alone; resume=<run or step> takes ours",
    "auto_resume": "a run goes on where resume=… says so, and never by itself",
    "epoch_checkpointing": "the last step and the best are always saved",
    "shuffle_before_split": "what is held out is decided by content, so that equal dialogues share a split",
    "use_dynamic_padding": "rows are always as short as a batch allows",
    "distributed_type": "engine=zero2 | zero3 | fsdp2 | ddp, with engine.num_processes=<GPUs>",
    "init_timeout_seconds": "no process waits for another while data are tokenised",
    "low_cpu_mem_usage": UNREAD,
    "use_random_sampler": UNREAD,
    "use_xformers": UNREAD,
    "trust_remote_code": f"{UNREAD}; model.trust_remote_code=true runs code of a repository",
    "use_slow_tokenizer": UNREAD,
    "weight_by_num_documents": "shares are data.tasks.<task>.share=…",
    "make_vocab_size_divisible_by": UNREAD,
    "model_parallel_size": UNREAD,
    "world_size": "engine.num_processes=…",
}
SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant", "constant_with_warmup": "constant"}
COBA = ("coba_warmup_steps", "coba_history_length", "coba_tau", "coba_update_interval")


class Setting(NamedTuple):
    """One line of the experiment: a choice (a key without a dot) or a value, and what is to be known of it."""

    key: str
    value: Any
    note: str = ""


def translated(given: Mapping[str, Any]) -> list[Setting]:
    """An MFTCoder configuration as settings of an experiment, its defaults among them.

    Args:
        given: the object in its JSON file.

    Raises:
        UserError: with all arguments that MFTCoder does not have, and all values that cannot be translated.
    """
    if unknown := [key for key in given if key not in DEFAULTS]:
        raise UserError("\n".join(f"{key}: {given[key]!r}: no argument of MFTCoder" for key in unknown))
    faults = list(_faults({**DEFAULTS, **given}))
    raise_faults(faults)
    asked = {**DEFAULTS, **given}
    sections = (_model, _data, _loss, _optimizer, _steps)
    return [setting for section in sections for setting in section(asked)]


def left_out(given: Mapping[str, Any]) -> dict[str, str]:
    """What was given and has no place here, with the reason."""
    found = {key: why for key, why in GONE.items() if key in given}
    if given.get("weighted_loss_mode", DEFAULTS["weighted_loss_mode"]) != "coba":
        found |= {key: "without coba it had no effect" for key in given if key.startswith("coba_")}
    if given.get("peft_type", "qlora") is None:
        found |= {key: "all parameters train" for key in given if key.startswith("lora_")}
    return found


def _faults(asked: Mapping[str, Any]) -> Iterator[str]:
    known = {
        "padding_mode": ("padding", "pack", "concat"),
        "tokenize_mode": ("sft", "pretrain"),
        "weighted_loss_mode": ("case1", "case2", "case3", "case4", "coba"),
        "peft_type": ("lora", "qlora", None),
        "lr_scheduler_type": tuple(SCHEDULERS),
    }
    for key, choices in known.items():
        if asked[key] not in choices:
            yield f"{key}: {asked[key]!r} is none of {', '.join(map(str, choices))}; correct it in the JSON file"
    for key in ("data_paths", "task_weights", "data_split"):
        if not isinstance(asked[key], str | list | None):
            yield f"{key}: {asked[key]!r} is neither a text nor a list"


def _model(asked: Mapping[str, Any]) -> Iterator[Setting]:
    yield Setting("model", "path")
    yield Setting("model.pretrained_model_path", _expanded(asked["pretrained_model_path"]))
    if asked["attn_implementation"] == "eager":
        yield Setting("model.attn_implementation", "eager")
    else:
        yield Setting("model.attn_implementation", None, "the fastest that there is on this machine")
    peft = asked["peft_type"]
    if peft is None:
        yield Setting("peft", "none")
        return
    yield Setting("peft", peft)
    if peft == "lora":
        yield Setting("quantization", "none", "MFTCoder quantised with qlora alone, whatever the file said")
    yield Setting("peft.lora_rank", asked["lora_rank"], "adapters are scaled by lora_alpha / lora_rank, as there")
    yield Setting("peft.lora_alpha", asked["lora_alpha"])
    yield Setting("peft.lora_dropout", asked["lora_dropout"], "0 makes the gradient independent of micro-batches")
    yield Setting("peft.bias", "lora_only", "as MFTCoder always had it; models without biases do not notice")
    yield Setting("peft.target_modules", asked["target_modules"])


def _data(asked: Mapping[str, Any]) -> Iterator[Setting]:
    yield Setting("data", "folders")
    yield Setting("data.paths", _list(asked["data_paths"]), "a task each, named after the last part of its path")
    parts = [float(part) for part in _list(asked["data_split"], separators=r"[,/]")]
    note = "train, valid, test; of MFTCoder's, all but the first was for validation"
    yield Setting("data.data_split", [int(part) if part.is_integer() else part for part in parts], note)
    yield Setting("data.seq_length", asked["seq_length"], "tokens of a row; MFTCoder's had one more, its last a target")
    yield Setting("data.padding_mode", asked["padding_mode"], _of_padding(asked["padding_mode"]))
    if asked["padding_mode"] != "concat":
        yield Setting("data.too_long", "drop", "as MFTCoder did without a word; truncate | split keep them")
    yield Setting("template", "codefuse", "its format, end token after the answer's line end; control tokens escaped")
    if asked["role_markers"] is not None:
        yield Setting("template.role_markers", asked["role_markers"])
    if asked["tokenize_mode"] == "pretrain":
        yield Setting("template.role_markers", dict.fromkeys(("system", "user", "assistant"), ""))
        yield Setting("template.train_on", "all")


def _of_padding(mode: str) -> str:
    if mode == "padding":
        return "pack is several times faster, with the same objective; a batch is then of packs"
    if mode == "pack":
        return "here dialogues in a pack do not see each other, and none goes to another task"
    return ""


def _loss(asked: Mapping[str, Any]) -> Iterator[Setting]:
    mode, weights = asked["weighted_loss_mode"], asked["task_weights"]
    whole = "weights hold in the whole global batch; MFTCoder's cancelled where a micro-batch had one task"
    yield Setting("objective", "sft")
    yield Setting("objective.reduction", "sample" if mode in ("case2", "case4") else "token")
    if mode in ("case1", "case2"):
        yield Setting("balancer", "proportional", f"{mode}: task_weights had no effect")
    elif mode == "coba":
        yield Setting("balancer", "coba", "as in the paper; balancer=coba_original computes what MFTCoder's code did")
        for key in COBA:
            yield Setting(f"balancer.{key}", asked[key])
        number = asked["coba_sample_valid_num"] * asked["per_device_eval_batch_size"]
        yield Setting("balancer.coba_sample_valid_num", number, "samples; MFTCoder counted micro-batches of a process")
    elif weights is None:
        yield Setting("balancer", "equal", f"{mode}; {whole}")
    else:
        yield Setting("balancer", "fixed", f"{mode}; {whole}")
        yield Setting("balancer.task_weights", [float(weight) for weight in _list(weights)])


def _optimizer(asked: Mapping[str, Any]) -> Iterator[Setting]:
    yield Setting("optimizer", "adamw")
    yield Setting("optimizer.lr", asked["learning_rate"])
    yield Setting("optimizer.weight_decay", asked["weight_decay"], "norms and biases are not decayed here")
    scheduler = SCHEDULERS[asked["lr_scheduler_type"]]
    yield Setting("scheduler", scheduler)
    warm_up = "optimizer steps, or below 1 a fraction of them; MFTCoder's grew with accumulation"
    yield Setting("scheduler.num_warmup_steps", asked["num_warmup_steps"], warm_up)
    if scheduler != "constant":
        note = "where the decay ends; MFTCoder cut it off there, and lifted the warm-up to it"
        yield Setting("scheduler.min_lr", asked["min_lr"], note)


def _steps(asked: Mapping[str, Any]) -> Iterator[Setting]:
    yield Setting("seed", asked["seed"])
    batch = "with accumulation and processes, the global batch; the objective is that of the whole"
    yield Setting("training.per_device_train_batch_size", asked["per_device_train_batch_size"], batch)
    accumulation = "it counts here; DeepSpeed's launcher overrode MFTCoder's with its own"
    yield Setting("training.gradient_accumulation_steps", asked["gradient_accumulation_steps"], accumulation)
    yield Setting("training.per_device_eval_batch_size", asked["per_device_eval_batch_size"])
    yield Setting("training.num_train_epochs", float(asked["num_train_epochs"]), "every sample once each, on any ranks")
    for key in ("max_train_steps", "log_interval", "evaluation_steps", "early_stopping", "early_stopping_stall_num"):
        yield Setting(f"training.{key}", asked[key])
    yield Setting("checkpoint.checkpointing_steps", asked["checkpointing_steps"], "whole states: resuming is exact")
    yield Setting("checkpoint.saving_limit", asked["saving_limit"])
    yield Setting("tracker", ["console", "jsonl", *(["tensorboard"] if asked["tb_dir"] else [])])
    place = _expanded(asked["output_dir"]).rstrip("/")
    name = "migrated" if place == ABSENT else re.sub(r"[^\w.-]", "_", os.path.basename(place))
    yield Setting("name", name, "runs/<name>/…; hydra.run.dir=… gives one run another place")


def _expanded(value: Any) -> str:
    """A path with its variables filled in; missing where one is not set."""
    text = os.path.expandvars(str(value or ABSENT))
    return ABSENT if "$" in text or text.startswith("{{") else text


def _list(value: Any, *, separators: str = ",") -> list[str] | str:
    """A list as MFTCoder writes it, in brackets and commas within a text; missing where it is left to a variable."""
    if isinstance(value, list):
        return [_expanded(part) for part in value]
    text = _expanded(value)
    return (
        text if text == ABSENT else [part.strip() for part in re.split(separators, text.strip("[] ")) if part.strip()]
    )
