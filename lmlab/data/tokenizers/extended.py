"""A tokenizer with what an objective needs and it has not got: ids after its vocabulary, a way to write messages."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmlab.utils.files import read_bytes, write_json, write_text

ADDED, CHAT = "lmlab_added.json", "chat_template.jinja"
SPEAKERS = ("system", "user", "assistant")
# "<user>Hello<end><assistant>Hi<end>": marks of whose turn it is, and the end of the document after each of them
TEMPLATE = ("{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")


class Extended:
    """`base` with one id more for each of `added`; text never gives one of them, and they decode to nothing.

    With `chat` it has TEMPLATE, whose marks are the added ids of the SPEAKERS. Where those are not among the added
    (a network's vocabulary does not grow), a mark is what base makes of it as text, cut off from what stands beside it.
    """

    def __init__(self, base, added: Sequence[str], chat: bool = False):
        """base: any Tokenizer. added: roles that base has not got, in the order of their ids."""
        self.base, self.added, self.chat = base, tuple(added), chat
        self.kind, self.eod = base.kind, base.eod
        self.chat_template, self.variables = base.chat_template, getattr(base, "variables", {})
        self.vocab_size = base.vocab_size + len(self.added)
        self.specials = base.specials | {role: i for i, role in enumerate(self.added, base.vocab_size)}
        self.controls = {*getattr(base, "controls", ()), self.eod, *range(base.vocab_size, self.vocab_size)}
        if chat:
            self.chat_template, self.variables = TEMPLATE, {"eos_token": "<end>", **self.variables}
            self._marks = {f"<{role}>": [self.specials[role]] if role in self.specials else base.encode(f"<{role}>")
                           for role in SPEAKERS} | {self.variables["eos_token"]: [self.eod]}

    @classmethod
    def from_folder(cls, folder: Path, base) -> "Extended":
        """base with the roles that `save` wrote into folder. Raises ValueError where they are no roles."""
        roles, chat = json.loads(read_bytes(Path(folder) / ADDED)), Path(folder) / CHAT
        if not isinstance(roles, list) or not all(isinstance(role, str) and role.isidentifier() for role in roles):
            raise ValueError(f"{ADDED} holds no list of roles")
        if chat.is_file() and read_bytes(chat).decode("utf-8") != TEMPLATE:
            raise ValueError(f"{CHAT} is not the template that it was")
        return cls(base, roles, chat.is_file())

    def encode(self, text: str) -> list[int]:
        """base's ids of text."""
        return self.base.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """base's ids of each text."""
        return self.base.encode_batch(texts)

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """base's."""
        return self.base.encode_offsets(text)

    def decode(self, ids: Iterable[int]) -> str:
        """base's text of ids, the added ones skipped."""
        return self.base.decode(i for i in ids if i < self.base.vocab_size)

    def encode_markup(self, text: str) -> list[int]:
        """base's, and the template's marks as what they are; see huggingface."""
        if not self.chat:
            return self.base.encode_markup(text)
        encode = getattr(self.base, "encode_markup", self.base.encode)
        parts = re.split("({})".format("|".join(map(re.escape, self._marks))), text)
        return [i for part in parts if part for i in self._marks.get(part) or encode(part)]

    def shield(self, text: str, mark: str) -> str:
        """base's, and `mark` inside all that reads like a mark of the template; see huggingface."""
        if hasattr(self.base, "shield"):
            text = self.base.shield(text, mark)
        for written in self._marks if self.chat else ():
            text = text.replace(written, written[0] + mark + written[1:])
        return text

    def save(self, folder: Path) -> None:
        """Writes base, the added roles and the template into folder."""
        self.base.save(folder)
        write_json(Path(folder) / ADDED, self.added)
        if self.chat:
            write_text(Path(folder) / CHAT, TEMPLATE)


def in_order(roles: Iterable[str]) -> list[str]:
    """Roles in the order of their ids: as given, then the sentinels, extra_0 last (Raffel et al. 2020)."""
    sentinels = [role for role in roles if role.startswith("extra_")]
    return [role for role in roles if role not in sentinels] + sorted(
        sentinels, key=lambda role: int(role.removeprefix("extra_")), reverse=True)
