"""ChatML with tools, as NousResearch's Hermes models and Qwen2.5 write them: `<tools>…</tools>`, `<tool_call>…`."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.template.base import Sanitize, TrainOn, control
from mftcoder.template.rendered import Rendered

GENERATION = re.compile(r"\{%-? (end)?generation -?%\}")
TEXT = r"""{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools -%}
{{- '<|im_start|>system\n' + system + ('\n\n' if system else '') -}}
{{- '# Tools\n\nYou may call one or more functions. Their signatures are within <tools></tools>:\n<tools>' -}}
{%- for tool in tools -%}{{- '\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\n</tools>\n\nFor each call, return a JSON object within <tool_call></tool_call>:\n' -}}
{{- '<tool_call>\n{"name": <function name>, "arguments": <arguments as an object>}\n</tool_call><|im_end|>\n' -}}
{%- elif system -%}
{{- '<|im_start|>system\n' + system + '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|im_start|>assistant\n' -}}
{%- generation -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
{{- '\n' if message.content or not loop.first else '' -}}
{{- '<tool_call>\n{"name": ' + (call.function.name | tojson) + ', "arguments": ' -}}
{{- (call.function.arguments | tojson) + '}\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\n' -}}
{%- elif message.role == 'tool' -%}
{{- '<|im_start|>tool\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' -}}
{%- elif message.role == 'user' -%}
{{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""


class Hermes(Rendered):
    """For tokenizers that have <|im_start|> and <|im_end|>; the marks of tools are plain text to the others.

    Args:
        train_on: see `Template`.
        sanitize: see `Template`.

    Source: the model cards of Hermes-2-Pro and the chat template of Qwen2.5; the wording of the instructions is ours.
    """

    def __init__(self, *, train_on: TrainOn, sanitize: Sanitize) -> None:
        super().__init__(variables={}, train_on=train_on, sanitize=sanitize)

    def source(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The Jinja text, the same for all dialogues."""
        control("<|im_start|>", tokenizer)
        control("<|im_end|>", tokenizer)
        return TEXT

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The same without the tags that mark answers, which only transformers knows."""
        return GENERATION.sub("", self.source(Dialogue(turns=(), origin=""), tokenizer))
