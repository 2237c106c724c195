"""Chat: messages become a prompt by the tokenizer's own template, and what a message says never a special token."""

import json

from lmlab.data.cleaning import valid_unicode
from lmlab.data import sandbox
from lmlab.utils.errors import UserError

# What a decoder is asked to do with a text.
INSTRUCTIONS = {"summarization": "Summarize the text in one sentence.",
                "correction": "Correct the spelling of the text."}


def render(template: str, messages, *, add_generation_prompt=True, tools=None, **variables) -> str:
    """The text of a conversation, as transformers' apply_chat_template gives it.

    Args:
      template: Jinja. messages: [{"role": "user", "content": "..."}, ...]. add_generation_prompt: ends with what
        begins the assistant's answer. tools: JSON schemas of functions, for templates that know of them.
      variables: what else the template may ask for: bos_token="<s>", ...
    Raises:
      UserError: for what is no list of messages, and for a template that is broken, refuses the messages, or runs
        wild (see sandbox).
    """
    return sandbox.render(template, {**variables, "messages": _plain(messages), "tools": _tools(tools),
                                     "documents": None, "add_generation_prompt": bool(add_generation_prompt)})


def encode_chat(tokenizer, messages, *, add_generation_prompt=True, tools=None) -> list[int]:
    """The ids of a conversation, ready for `generate`: special tokens of the template are their ids, all that the
    messages and tools say is text, be it written like a special token or not.

    A mark that no message holds is put inside whatever in them reads like a special token (and at an end that could
    become one together with what the template has beside it); the rendered text is cut at the marks, and no special
    token is left in a part but the template's own. Messages without such text give transformers' ids. Roles and the
    names of fields are the caller's, and not guarded.

    Raises:
      UserError: as `render`, and where the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise UserError("this model has no chat template: give it text, not messages, or use one that was tuned to "
                        "chat")
    messages, tools = _plain(messages), _tools(tools)
    said = json.dumps([messages, tools], ensure_ascii=False) + tokenizer.chat_template
    mark = next(chr(code) for code in range(0xf0000, 0x10fffe) if chr(code) not in said)
    guard = lambda value: _each_string(value, lambda text: tokenizer.shield(text, mark))
    text = render(tokenizer.chat_template, [{**guard(message), "role": message["role"]} for message in messages],
                  add_generation_prompt=add_generation_prompt, tools=guard(tools), **tokenizer.variables)
    return [i for part in text.split(mark) if part for i in tokenizer.encode_markup(part)]


def turn(tokenizer, before, content) -> tuple[list[int], int, int]:
    """An answer in its place: (ids of the messages `before` and of the answer, start, stop), the answer being
    ids[start:stop], with the token that ends it.

    It starts where the conversation with it first differs from the prompt that asks for it, and stops after the last
    control token that follows (white space may come after that, but nobody generates it), or where the ids do.
    """
    prompt = encode_chat(tokenizer, before)
    ids = encode_chat(tokenizer, [*before, {"role": "assistant", "content": content}], add_generation_prompt=False)
    start = next((i for i, (one, other) in enumerate(zip(prompt, ids)) if one != other), min(len(prompt), len(ids)))
    stop = max((i + 1 for i in range(start, len(ids)) if ids[i] in tokenizer.controls), default=len(ids))
    return ids, start, stop


def asked(task, source) -> list[dict]:
    """The messages that ask for one of INSTRUCTIONS."""
    return [{"role": "system", "content": INSTRUCTIONS[task]}, {"role": "user", "content": source}]


def ends(tokenizer) -> set[int]:
    """The control token that ends an assistant's turn by the tokenizer's template, if there is one."""
    if not tokenizer.chat_template:
        return set()
    try:
        ids, start, stop = turn(tokenizer, [{"role": "user", "content": "a"}], "b")
    except UserError:  # a template that fails: who gives text and no messages need not care
        return set()
    return set(ids[start:stop][-1:]) & tokenizer.controls


def _plain(messages) -> list[dict]:
    """Messages as plain data, without fields that are None; a UserError for anything else."""
    try:
        messages = _each_string(json.loads(json.dumps(messages)), valid_unicode)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"messages must hold texts, numbers, lists and dicts only ({error})") from error
    if not isinstance(messages, list) or not messages:
        raise UserError("messages must be a list, at least one long, of dicts with role and content")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise UserError(f'message {number} must be a dict as {{"role": "user", "content": "..."}}')
    return [{name: value for name, value in message.items() if value is not None} for message in messages]


def _tools(tools):
    """Tools as plain data, or None."""
    try:
        return json.loads(json.dumps(tools))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"tools must be JSON schemas ({error})") from error


def _each_string(value, change):
    """value with every string in it changed, but for the keys of dicts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_string(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each_string(item, change) for key, item in value.items()}
    return value
