"""Text to ids and back: one protocol over bytes, characters, sentencepiece and Hugging Face tokenizers."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from lmlab.data.corpus import Corpus
from lmlab.data.tokenizers import extended, plain
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.files import cache_dir, new_folder, read_bytes, sha256

_VERSION = 1  # raise when training the same text would give another tokenizer
_TRAINED = ("bpe", "unigram", "bbpe", "wordpiece", "wordpiece-uncased")


class Tokenizer(Protocol):
    """What the rest of the code knows of a tokenizer.

    Attributes:
      kind: one of bytes, chars, bpe, unigram, bbpe, wordpiece, wordpiece-uncased, file. vocab_size: ids are below it.
      eod: the id that ends a document, and stands between its parts; generation stops with it.
      specials: ids by role: "mask", "cls", "pad", "unk", "bos" (stands before a prompt; where there is none, eod
        does; -1: nothing does), "decoder_start" (where there is none: eod), "extra_0" .. "extra_99" (T5's sentinels).
      chat_template: how messages become a prompt, in Jinja; "" where the tokenizer has none. One that has a template
        also has `encode_markup` and `shield` (see huggingface), `variables` of the template, and `controls`, the ids
        that stand for no text.
    """

    kind: str
    vocab_size: int
    eod: int
    specials: dict[str, int]
    chat_template: str

    def encode(self, text: str) -> list[int]:
        """The ids of text, without eod; special tokens written in the text stay plain text."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text, on all cores where the library can."""

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """encode, and for each id the (start, end) of the characters of `text` that it stands for, whatever
        normalisation made of them."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, eod skipped; undecodable bytes become U+FFFD."""

    def save(self, folder: Path) -> None:
        """Writes what `load` needs into an existing or new folder."""


def build(name: str = "bytes", vocab_size: int = 4096, path: str = "", *, specials: Iterable[str] = (),
          corpus: Corpus) -> Tokenizer:
    """A tokenizer, trained on the corpus's train split where it has something to learn.

    Args:
      name: "bytes", "chars", "bpe" or "unigram" (sentencepiece), "bbpe" (byte-level BPE), "wordpiece"
        and "wordpiece-uncased" (BERT's, not lossless), "file" (path's).
      vocab_size: for the trained ones, all ids counted. path: a Hugging Face tokenizer.json.
      specials: the roles that are needed; those that the vocabulary has not got come on top of vocab_size.
    Raises:
      UserError: for an unknown name, a vocabulary the text is too small for, a file that is no tokenizer.
    """
    check(name)
    return extend(_build(name, vocab_size, path, corpus), specials)


def _build(name: str, vocab_size: int, path: str, corpus: Corpus) -> Tokenizer:
    """`build` before any role is added."""
    if name == "bytes":
        return plain.Bytes()
    if name == "chars":
        return plain.Chars.train(corpus.texts("train"))
    if name == "file":
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.from_file(path)
    key = sha256(json.dumps([_VERSION, corpus.fingerprint, name, vocab_size]))[:16]
    folder = cache_dir() / "tokenizers" / f"{name}-{vocab_size}-{key}"
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            _train(name, vocab_size, corpus.texts("train")).save(temporary)
    return load(folder)


def extend(tokenizer: Tokenizer, roles: Iterable[str]) -> Tokenizer:
    """The tokenizer with an id, after its vocabulary, for each of the roles that it has not got.

    They are saved and loaded with it. Sentinels go backwards as T5's do: extra_0 has the highest id.
    """
    missing = [role for role in dict.fromkeys(roles) if role not in tokenizer.specials]
    if not missing:
        return tokenizer
    if isinstance(tokenizer, extended.Extended):
        return extended.Extended(tokenizer.base, [*tokenizer.added, *extended.in_order(missing)], tokenizer.chat)
    return extended.Extended(tokenizer, extended.in_order(missing))


def chatting(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer where it has a chat template; else with extended.TEMPLATE, which is saved and loaded with it. No id
    is added: the marks of the template are special tokens where the tokenizer has the roles of extended.SPEAKERS."""
    if tokenizer.chat_template:
        return tokenizer
    base, added = (tokenizer.base, tokenizer.added) if isinstance(tokenizer, extended.Extended) else (tokenizer, ())
    return extended.Extended(base, added, chat=True)


def check(name: str) -> None:
    """Raises a UserError where `name` is no tokenizer, naming the nearest."""
    known = ("bytes", "chars", *_TRAINED, "file")
    if name not in known:
        raise UserError(f"config.tokenizer.name={name!r} is unknown{did_you_mean(name, known)}; "
                        f"one of {', '.join(known)}")


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer that was saved in folder; UserError if there is none, or its files are damaged."""
    try:
        kind = json.loads(read_bytes(Path(folder) / plain.DESCRIPTION))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder}: no tokenizer here ({plain.DESCRIPTION} is missing or damaged)") from error
    try:
        tokenizer = _load(kind, folder)
        if (Path(folder) / extended.ADDED).is_file():
            return extended.Extended.from_folder(folder, tokenizer)
        return tokenizer
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever a library, or a value of another kind, makes of damaged files
        raise UserError(f"{folder}: the tokenizer is damaged ({type(error).__name__}: {error}); restore it from a "
                        "copy") from error


def _load(kind: str, folder: str | Path) -> Tokenizer:
    """`load` without the roles that were added."""
    if kind == "bytes":
        return plain.Bytes()
    if kind == "chars":
        return plain.Chars.from_folder(folder)
    if kind in ("bpe", "unigram"):
        from lmlab.data.tokenizers import pieces
        return pieces.SentencePiece.from_folder(folder, kind)
    if kind in ("bbpe", "wordpiece", "wordpiece-uncased", "file"):
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.from_file(folder, kind)
    raise UserError(f"{folder}: unknown tokenizer kind {kind!r}")


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 over everything that the tokenizer saves: equal digests, equal ids."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return digest_of(folder)


def digest_of(folder: str | Path) -> str:
    """`digest` of the tokenizer that was saved in folder, told from the files alone (less hidden ones, and the digest
    that a run notes beside them); OSError if they cannot be read."""
    files = sorted(file for file in Path(folder).iterdir() if file.name != "sha256" and file.name[0] != ".")
    return sha256("".join(f"{file.name} {sha256(read_bytes(file))}\n" for file in files))


def _train(name: str, vocab_size: int, documents: Iterable[str]) -> Tokenizer:
    """A vocabulary learned from the documents."""
    if name == "bbpe":
        from lmlab.data.tokenizers import huggingface
        return huggingface.HuggingFace.train(documents, vocab_size)
    if name.startswith("wordpiece"):
        from lmlab.data.tokenizers import wordpiece
        return wordpiece.train(documents, vocab_size, name)
    from lmlab.data.tokenizers import pieces
    return pieces.SentencePiece.train(documents, vocab_size, model_type=name)
