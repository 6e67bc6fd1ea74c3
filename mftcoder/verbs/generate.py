"""The verb `generate`: answers a prompt, a file of prompts, or whoever sits at the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import raise_faults
from mftcoder.core.rng import Seed, seed_all
from mftcoder.data.records.faults import Fault, refuse
from mftcoder.data.records.parsing import parse
from mftcoder.data.records.reader import read
from mftcoder.data.tokens.encoding import encode_prompt
from mftcoder.engine.device import Device, choose_device
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.generation import Decoding, complete
from mftcoder.quantization.base import Quantization
from mftcoder.storage.restored import FromRun, find, of_run
from mftcoder.template.base import Template


def generate(
    *,
    name: str,
    checkpoint: str | None,
    model: CausalLM | FromRun,
    quantization: Quantization | FromRun | None,
    template: Template | FromRun,
    prompt: str | None,
    prompts: str | None,
    system: str | None,
    output: str | None,
    per_device_eval_batch_size: int,
    decoding: Decoding,
    seed: Seed,
    device: Device,
    trusted_targets: list[str],
    run_dir: Path,
) -> None:
    """Answer `prompt` on the terminal, or all of the file `prompts` into a file, or else hold a conversation.

    name: of the directory that runs go to. run_dir: where answers go that `output` gives no other place.
    Raises UserError for what cannot be answered.
    """
    raise_faults(_impossible(prompt, prompts, output, per_device_eval_batch_size))
    seed_all(seed)
    trained = find(checkpoint, model=model, quantization=quantization, trusted=trusted_targets)
    net, tokenizer = trained.load(choose_device(device))
    chosen = of_run("template", template, trained.weights, Template, trusted=trusted_targets)
    assistant = Assistant(net, tokenizer, chosen, decoding)
    if prompts is not None:
        target = Path(output) if output is not None else run_dir / "generations.jsonl"
        answer_file(assistant, Path(prompts), system, target, per_device_eval_batch_size)
    elif prompt is not None:
        assistant.say(Dialogue((*opening(system), Turn("user", prompt)), "prompt"))
    else:
        converse(assistant, system)


def _impossible(prompt: str | None, prompts: str | None, output: str | None, batch_size: int) -> Iterator[str]:
    """What can be said before a model is loaded."""
    if prompt is not None and prompts is not None:
        yield f"prompt={prompt!r} and prompts={prompts!r}: give one of the two"
    if prompts is not None and not Path(prompts).is_file():
        yield f"prompts={prompts}: no such file; expected JSON lines with a `prompt` or a dialogue each"
    if output is not None and Path(output).is_dir():
        yield f"output={output}: is a directory; name a file in it"
    if output is not None and prompts is not None and Path(output).resolve() == Path(prompts).resolve():
        yield f"output={output}: the answers would replace the prompts; name another file"
    if batch_size < 1:
        yield f"per_device_eval_batch_size: {batch_size} is below 1"


@dataclass(frozen=True, slots=True)
class Assistant:
    """A model that answers dialogues as its template puts them."""

    net: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    decoding: Decoding

    def answers(self, dialogues: Sequence[Dialogue], streamer: TextStreamer | None = None) -> list[str]:
        """The next assistant turn of each, as one batch."""
        prompts = [encode_prompt(dialogue, self.template, self.tokenizer) for dialogue in dialogues]
        ends = self.template.ends(self.tokenizer)
        return complete(self.net, self.tokenizer, prompts, self.decoding, ends=ends, streamer=streamer)

    def say(self, dialogue: Dialogue) -> str:
        """Show the answer on the terminal as it comes, or at its end where several are followed."""
        if self.decoding.num_beams == 1:
            streamer = TextStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
            return self.answers([dialogue], streamer)[0]
        answer = self.answers([dialogue])[0]
        print(answer, flush=True)
        return answer


def opening(system: str | None) -> tuple[Turn, ...]:
    """The turns before the first of the user."""
    return () if system is None else (Turn("system", system),)


def converse(assistant: Assistant, system: str | None) -> None:
    """Answer line by line, each with all that was said before."""
    interactive = sys.stdin.isatty()
    if interactive:
        print("An empty line begins a new conversation, Ctrl-D ends.")
    turns = opening(system)
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return
        if not line:
            turns = opening(system)
            continue
        turns = (*turns, Turn("user", line))
        turns = (*turns, Turn("assistant", assistant.say(Dialogue(turns, "terminal")).strip()))


def answer_file(assistant: Assistant, source: Path, system: str | None, target: Path, batch_size: int) -> None:
    """Answer every record of `source`; `target` gets each, in order, with its answer as `generated`."""
    questions = iter(read_questions(source, system))
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    with target.open("w", encoding="utf-8") as file:
        while batch := list(islice(questions, batch_size)):
            answers = assistant.answers([dialogue for _, dialogue in batch])
            for (record, _), answer in zip(batch, answers, strict=True):
                file.write(json.dumps({**record, "generated": answer}, ensure_ascii=False) + "\n")
            number += len(batch)
    print(f"{number} answers in {target}")


def read_questions(source: Path, system: str | None) -> list[tuple[dict[str, Any], Dialogue]]:
    """The records of a file, each with the dialogue that is to be answered.

    A record is `{"prompt": …}` or of any shape that can be trained on; a last turn of the assistant, the reference, is
    taken off. Raises UserError with all records that hold no question.
    """
    faults: list[Fault] = []
    questions = list(_questions(source, system, faults))
    refuse(faults, rows=len(questions) + len(faults), max_fraction=0.0, remedy="mend them, or take them out")
    return questions


def _questions(source: Path, system: str | None, faults: list[Fault]) -> Iterator[tuple[dict[str, Any], Dialogue]]:
    for origin, record in read(source, faults):
        try:
            yield record, _question(record, origin, system)
        except ValueError as error:
            faults.append(Fault(origin, str(error).removeprefix(f"{origin}: "), ""))


def _question(record: dict[str, Any], origin: str, system: str | None) -> Dialogue:
    if isinstance(prompt := record.get("prompt"), str) and record.keys() <= {"prompt", "system", "id"}:
        return Dialogue((*opening(record.get("system", system)), Turn("user", prompt)), origin)
    example = parse(record, origin, format=None, columns={})
    if not isinstance(example, Dialogue) or example.kind == "verbatim":
        raise ValueError(f"holds no question, as it is no dialogue: {record!r:.60}; expected a prompt or a dialogue")
    if example.kind == "text":
        return example
    turns = example.turns[:-1] if example.turns[-1].role == "assistant" else example.turns
    if not turns:
        raise ValueError(f"holds an answer, but no question: {record!r:.60}")
    return replace(example, turns=turns if turns[0].role == "system" else (*opening(system), *turns))
