"""Tokenizers with nothing to train but an alphabet: UTF-8 bytes, and characters."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmlab.data.cleaning import valid_unicode
from lmlab.utils.files import read_bytes, write_json

DESCRIPTION = "lmlab_tokenizer.json"


def byte_offsets(text: str, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) in characters of the pieces that text's UTF-8 is cut into; one that holds a part of a character
    stands for all of it. sizes: of the pieces, bytes."""
    character = [i for i, c in enumerate(text) for _ in range(len(c.encode("utf-8")))]
    found, at = [], 0
    for size in sizes:
        inside = character[at:at + size]
        found.append((inside[0], inside[-1] + 1) if inside else (len(text), len(text)))
        at += size
    return found


class Bytes:
    """Each UTF-8 byte is its own id; 256 is eod."""

    kind = "bytes"
    vocab_size = 257
    eod = 256
    specials: dict[str, int] = {}
    chat_template = ""

    def encode(self, text: str) -> list[int]:
        """The bytes of text; lone surrogates become U+FFFD."""
        return list(valid_unicode(text).encode("utf-8"))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text."""
        return [self.encode(text) for text in texts]

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """encode, and the character of each byte."""
        ids = self.encode(text)
        return ids, byte_offsets(valid_unicode(text), [1] * len(ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the bytes, eod skipped; bytes that are no UTF-8 become U+FFFD."""
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")

    def save(self, folder: Path) -> None:
        """Writes the description into folder."""
        write_json(Path(folder) / DESCRIPTION, {"kind": self.kind})


class Chars:
    """Each character of an alphabet is its own id, in code point order from 2; 0 is eod, 1 all others."""

    kind = "chars"
    eod = 0
    specials = {"unk": 1}
    chat_template = ""

    def __init__(self, characters: str):
        """characters: the alphabet, in the order of its ids."""
        self.characters = characters
        self.vocab_size = len(characters) + 2
        self._ids = {character: i for i, character in enumerate(characters, 2)}

    @classmethod
    def train(cls, documents: Iterable[str]) -> "Chars":
        """The alphabet of the documents."""
        return cls("".join(sorted(set().union(*documents))))

    @classmethod
    def from_folder(cls, folder: Path) -> "Chars":
        """What save wrote. Raises ValueError where it holds no alphabet."""
        characters = json.loads(read_bytes(Path(folder) / DESCRIPTION))["characters"]
        if not isinstance(characters, str) or len(set(characters)) != len(characters):
            raise ValueError(f"{DESCRIPTION} holds no alphabet")
        return cls(characters)

    def encode(self, text: str) -> list[int]:
        """One id a character, unk for the ones outside the alphabet; lone surrogates are U+FFFD."""
        get = self._ids.get
        return [get(character, 1) for character in valid_unicode(text)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text."""
        return [self.encode(text) for text in texts]

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """encode, and the place of each character."""
        ids = self.encode(text)
        return ids, [(i, i + 1) for i in range(len(ids))]

    def decode(self, ids: Iterable[int]) -> str:
        """The characters, eod skipped, U+FFFD for unk."""
        alphabet = "\0\ufffd" + self.characters
        return "".join(alphabet[i] for i in ids if i)

    def save(self, folder: Path) -> None:
        """Writes the alphabet into folder."""
        write_json(Path(folder) / DESCRIPTION, {"kind": self.kind, "characters": self.characters})
