"""Continue a text, or answer in a chat: [{"generated_text": ...}]."""

from lmlab.data.chat import encode_chat
from lmlab.decoding.text import generate
from lmlab.utils.errors import UserError


def make(lm):
    """The call: for a string [{"generated_text": prompt + continuation}], for a list of strings a list of such lists.

    A chat, a list of {"role", "content"}, gives [{"generated_text": the messages and the assistant's after them}], a
    list of chats a list of such lists. Keyword arguments are those of `lmlab.generate`, and tools= (JSON schemas) for
    a chat; return_full_text=False leaves the prompt out: the new text alone.
    """
    def call(texts, *, return_full_text=True, tools=None, **settings):
        one = isinstance(texts, str) or _is_chat(texts)
        rows = [texts] if one else list(texts)
        for row in rows:
            if not isinstance(row, str) and not _is_chat(row):
                raise UserError(f"{str(row)[:80]!r} is no text and no chat; give strings or lists of messages")
        prompts = [encode_chat(lm.tokenizer, row, tools=tools) if _is_chat(row) else row for row in rows]
        out = [[{"generated_text": _whole(row, text) if return_full_text else text}]
               for row, text in zip(rows, generate(lm, prompts, **settings), strict=True)]
        return out[0] if one else out
    return call


def _is_chat(row) -> bool:
    return isinstance(row, (list, tuple)) and bool(row) and isinstance(row[0], dict)


def _whole(row, text):
    """The prompt with its continuation."""
    return [*row, {"role": "assistant", "content": text}] if _is_chat(row) else row + text
