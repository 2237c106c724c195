"""A tokenizer with ids added after its vocabulary, for the roles that an objective needs and it has not got."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmlab.utils.files import read_bytes, write_json

ADDED = "lmlab_added.json"


class Extended:
    """`base` with one id more for each of `added`; text never gives one of them, and they decode to nothing."""

    def __init__(self, base, added: Sequence[str]):
        """base: any Tokenizer. added: roles that base has not got, in the order of their ids."""
        self.base, self.added = base, tuple(added)
        self.kind, self.eod = base.kind, base.eod
        self.chat_template, self.variables = base.chat_template, getattr(base, "variables", {})
        self.vocab_size = base.vocab_size + len(self.added)
        self.specials = base.specials | {role: i for i, role in enumerate(self.added, base.vocab_size)}

    @classmethod
    def from_folder(cls, folder: Path, base) -> "Extended":
        """base with the roles that `save` wrote into folder. Raises ValueError where they are no roles."""
        roles = json.loads(read_bytes(Path(folder) / ADDED))
        if not isinstance(roles, list) or not all(isinstance(role, str) and role.isidentifier() for role in roles):
            raise ValueError(f"{ADDED} holds no list of roles")
        return cls(base, roles)

    def encode(self, text: str) -> list[int]:
        """base's ids of text."""
        return self.base.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """base's ids of each text."""
        return self.base.encode_batch(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """base's text of ids, the added ones skipped."""
        return self.base.decode(i for i in ids if i < self.base.vocab_size)

    def encode_markup(self, text: str) -> list[int]:
        """base's; see huggingface."""
        return self.base.encode_markup(text)

    def shield(self, text: str, mark: str) -> str:
        """base's; see huggingface."""
        return self.base.shield(text, mark)

    def save(self, folder: Path) -> None:
        """Writes base and the added roles into folder."""
        self.base.save(folder)
        write_json(Path(folder) / ADDED, self.added)


def in_order(roles: Iterable[str]) -> list[str]:
    """Roles in the order of their ids: as given, then the sentinels, extra_0 last (Raffel et al. 2020)."""
    sentinels = [role for role in roles if role.startswith("extra_")]
    return [role for role in roles if role not in sentinels] + sorted(
        sentinels, key=lambda role: int(role.removeprefix("extra_")), reverse=True)
