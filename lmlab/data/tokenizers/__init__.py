"""Text to ids and back: one protocol over bytes, characters, sentencepiece and Hugging Face tokenizers."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from lmlab.data.corpus import Corpus
from lmlab.data.tokenizers import plain
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.files import cache_dir, new_folder, sha256

_VERSION = 1  # raise when training the same text would give another tokenizer
_TRAINED = ("bpe", "unigram", "bbpe")


class Tokenizer(Protocol):
    """What the rest of the code knows of a tokenizer.

    Attributes:
      kind: one of bytes, chars, bpe, unigram, bbpe, file. vocab_size: ids are below it.
      eod: the id that stands before, between and after documents; generation starts and stops with it.
    """

    kind: str
    vocab_size: int
    eod: int

    def encode(self, text: str) -> list[int]:
        """The ids of text, without eod; special tokens written in the text stay plain text."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text, on all cores where the library can."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, eod skipped; undecodable bytes become U+FFFD."""

    def save(self, folder: Path) -> None:
        """Writes what `load` needs into an existing or new folder."""


def build(name: str = "bytes", vocab_size: int = 4096, path: str = "", *, corpus: Corpus) -> Tokenizer:
    """A tokenizer, trained on the corpus's train split where it has something to learn.

    Args:
      name: "bytes", "chars", "bpe" or "unigram" (sentencepiece), "bbpe" (byte-level BPE), "file" (path's).
      vocab_size: for the trained ones, all ids counted. path: a Hugging Face tokenizer.json.
    Raises:
      UserError: for an unknown name, a vocabulary the text is too small for, a file that is no tokenizer.
    """
    check(name)
    if name == "bytes":
        return plain.Bytes()
    if name == "chars":
        return plain.Chars.train(corpus.documents("train"))
    if name == "file":
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.from_file(path)
    key = sha256(json.dumps([_VERSION, corpus.fingerprint, name, vocab_size]))[:16]
    folder = cache_dir() / "tokenizers" / f"{name}-{vocab_size}-{key}"
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            _train(name, vocab_size, corpus.documents("train")).save(temporary)
    return load(folder)


def check(name: str) -> None:
    """Raises a UserError where `name` is no tokenizer, naming the nearest."""
    known = ("bytes", "chars", *_TRAINED, "file")
    if name not in known:
        raise UserError(f"config.tokenizer.name={name!r} is unknown{did_you_mean(name, known)}; "
                        f"one of {', '.join(known)}")


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer that was saved in folder; UserError if there is none."""
    try:
        kind = json.loads((Path(folder) / plain.DESCRIPTION).read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no tokenizer here ({plain.DESCRIPTION} is missing or damaged)") from error
    if kind == "bytes":
        return plain.Bytes()
    if kind == "chars":
        return plain.Chars.from_folder(folder)
    if kind in ("bpe", "unigram"):
        from lmlab.data.tokenizers import pieces
        return pieces.SentencePiece.from_folder(folder, kind)
    if kind in ("bbpe", "file"):
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.from_file(folder, kind)
    raise UserError(f"{folder}: unknown tokenizer kind {kind!r}")


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 over everything that the tokenizer saves: equal digests, equal ids."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        files = sorted(Path(folder).iterdir())
        return sha256("".join(f"{file.name} {sha256(file.read_bytes())}\n" for file in files))


def _train(name: str, vocab_size: int, documents: Iterable[str]) -> Tokenizer:
    """A sentencepiece or byte-level BPE vocabulary learned from the documents."""
    if name == "bbpe":
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.train(documents, vocab_size)
    from lmlab.data.tokenizers import pieces
    return pieces.SentencePiece.train(documents, vocab_size, model_type=name)
