r"""The conversation modes of VILA-M3 as chat templates, byte for byte what the reference renders.

A mode is a Jinja template for Transformers and the string that ends a turn of the model. In every mode a message
without text renders as an open turn, and `{% generation %}` marks what the model is trained on: the answer and its
stop.
"""

from typing import NamedTuple

from attending.errors import InputError


class Mode(NamedTuple):
    """One conversation mode."""

    template: str
    """Jinja chat template."""
    stop: str
    """What ends a turn of the model."""


# Text of a message: a string, or parts of type `text` and `image`.
_TEXT = """
{%- macro text(message) -%}
  {%- set content = message['content'] if 'content' in message else none -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content -%}
    {%- for part in content -%}
      {%- if part is string -%}
        {{- part -}}
      {%- elif part['type'] == 'text' -%}
        {{- part['text'] -}}
      {%- elif part['type'] == 'image' -%}
        {{- '<image>' -}}
      {%- else -%}
        {{- raise_exception('A content part is of type ' ~ part['type'] ~ '; expected text or image') -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- set system, turns = default_system, messages -%}
{%- if messages and messages[0]['role'] == 'system' -%}
  {%- set system, turns = text(messages[0]), messages[1:] -%}
{%- endif -%}
{%- for message in turns if message['role'] not in ['user', 'assistant'] -%}
  {{- raise_exception('A message has the role ' ~ message['role'] ~ '; expected user, assistant, first system') -}}
{%- endfor -%}
{%- set is_open = turns and turns[-1]['role'] == 'assistant' and not text(turns[-1]) -%}
"""

_LLAMA_3 = """
{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\n' ~ system ~ '<|eot_id|>' -}}
{%- for message in turns -%}
  {{- '<|start_header_id|>' ~ message['role'] ~ '<|end_header_id|>\\n\\n' -}}
  {%- set said = text(message) -%}
  {%- set stop = '<|end_of_text|>' if loop.last and not add_generation_prompt else '<|eot_id|>' -%}
  {%- if said and message['role'] == 'assistant' -%}
    {%- generation -%}{{- said ~ stop -}}{%- endgeneration -%}
  {%- elif said -%}
    {{- said ~ stop -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not is_open -%}
  {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

# The separator goes by a message's place, not by its role.
_VICUNA_V1 = """
{{- system ~ ' ' -}}
{%- for message in turns -%}
  {%- set said = text(message) -%}
  {%- set stop = ' ' if loop.index0 % 2 == 0 else '</s>' -%}
  {{- 'ASSISTANT:' if message['role'] == 'assistant' else 'USER:' -}}
  {%- if said and message['role'] == 'assistant' -%}
    {%- generation -%}{{- ' ' ~ said ~ stop -}}{%- endgeneration -%}
  {%- elif said -%}
    {{- ' ' ~ said ~ stop -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not is_open -%}
  {{- 'ASSISTANT:' -}}
{%- endif -%}
"""

_HERMES_2 = """
{{- '<|im_start|>system\\n' ~ system ~ '<|im_end|>' -}}
{%- for message in turns -%}
  {{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
  {%- set said = text(message) -%}
  {%- if said and message['role'] == 'assistant' -%}
    {%- generation -%}{{- said ~ '<|im_end|>' -}}{%- endgeneration -%}
  {%- elif said -%}
    {{- said ~ '<|im_end|>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not is_open -%}
  {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# The alignment stage trains on `<image>caption\n`: a message of pictures alone takes no line end.
_PLAIN = """
{{- system -}}
{%- for message in turns -%}
  {%- set said = text(message) -%}
  {%- if said and message['role'] == 'assistant' -%}
    {%- generation -%}{{- said ~ '\\n' -}}{%- endgeneration -%}
  {%- elif said -%}
    {{- said ~ ('\\n' if said.replace('<image>', '') else '') -}}
  {%- endif -%}
{%- endfor -%}
"""

_LLAMA_3_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_VICUNA_V1_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)


def _template(system: str, body: str) -> str:
    quoted = system.replace("'", "\\'")
    return "{%- set default_system = '" + quoted + "' -%}" + _TEXT + body.strip()


MODES = {
    "llama_3": Mode(_template(_LLAMA_3_SYSTEM, _LLAMA_3), "<|eot_id|>"),
    "vicuna_v1": Mode(_template(_VICUNA_V1_SYSTEM, _VICUNA_V1), "</s>"),
    "hermes-2": Mode(_template("Answer the questions.", _HERMES_2), "<|im_end|>"),
    "plain": Mode(_template("", _PLAIN), "\n"),
}


def mode(name: str) -> Mode:
    """Look up a conversation mode; `v1` is another name of `vicuna_v1`.

    Raises:
        InputError: For an unknown name.
    """
    found = MODES.get("vicuna_v1" if name == "v1" else name)
    if found is None:
        raise InputError(f"expected one of {', '.join(MODES)}", field="conversation mode", value=name)
    return found
