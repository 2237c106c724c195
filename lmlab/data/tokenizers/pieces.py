"""sentencepiece vocabularies (BPE, unigram) that give back exactly the text they were given."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from lmlab.data.cleaning import valid_unicode
from lmlab.data.tokenizers.plain import DESCRIPTION, byte_offsets
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, write_bytes, write_json

_FILE = "sentencepiece.model"
_SPACE = "\u2581"  # what sentencepiece writes for a space; one that stands in the text must not become one
_SENTENCE = 1000  # characters; sentencepiece skips sentences over 4,192 bytes
_TRAINING_CHARACTERS = 200_000_000  # it holds all of its training text in memory, several times over


class SentencePiece:
    """A sentencepiece model with normalisation off and byte fallback, so that every text makes the round
    trip.

    Id 0 is the library's unknown piece (never used: bytes stand in), 1 is eod, 2 a line break, 3 a tab.
    """

    eod = 1
    specials = {"unk": 0}
    chat_template = ""

    def __init__(self, model: bytes, kind: str):
        """model: a serialised sentencepiece model made by `train`. kind: "bpe" or "unigram"."""
        self.kind = kind
        self.model = model
        self._processor = processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size = processor.vocab_size()
        self._bytes = [_piece_bytes(processor, i) for i in range(self.vocab_size)]
        apart = _SPACE if processor.piece_to_id(_SPACE) != processor.unk_id() else f"{_SPACE} "  # text without a space
        self._apart = {mark: [processor.piece_to_id(f"<0x{byte:02X}>") for byte in mark.encode("utf-8")]
                       for mark in apart}
        self._cut = re.compile(f"([{apart}])")

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int, model_type: str) -> "SentencePiece":
        """Learns a vocabulary of exactly vocab_size pieces from (at most the first 200 M characters of)
        documents.

        Args:
          model_type: "bpe" (Sennrich et al. 2016) or "unigram" (Kudo 2018).
        Raises:
          UserError: if the text is too small or too varied for that many pieces; it names the number that
        would do. """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_sentences(documents), model_writer=model, model_type=model_type,
                vocab_size=vocab_size, byte_fallback=True, character_coverage=0.9995,
                normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                allow_whitespace_only_pieces=True, user_defined_symbols=["\n", "\t"],
                unk_id=0, eos_id=cls.eod, bos_id=-1, pad_id=-1, minloglevel=2,
                num_threads=2)  # the sums depend on it: one thread count, one result
        except RuntimeError as error:
            fault = f"config.tokenizer.vocab_size={vocab_size} is too"
            if most := re.search(r"value <= (\d+)", str(error)):
                raise UserError(f"{fault} large for this text; use {most[1]} or less") from error
            if least := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
                raise UserError(f"{fault} small for this text; use at least {least[1]}") from error
            raise
        return cls(model.getvalue(), model_type)

    @classmethod
    def from_folder(cls, folder: Path, kind: str) -> "SentencePiece":
        """What save wrote; UserError if it is missing or damaged."""
        try:
            return cls(read_bytes(Path(folder) / _FILE), kind)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{folder}: its {_FILE} is missing or damaged; restore it") from error

    def encode(self, text: str) -> list[int]:
        """The pieces of text; lone surrogates become U+FFFD."""
        parts = self._cut.split(valid_unicode(text))
        return [i for part in parts for i in self._apart.get(part) or self._processor.encode(part)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text, on all cores."""
        ids = self._processor.encode([valid_unicode(text) for text in texts])
        return [self.encode(text) if self._cut.search(text) else found for text, found in zip(texts, ids)]

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """encode, and the characters of each piece: the pieces' bytes are the text's."""
        ids = self.encode(text)
        return ids, byte_offsets(valid_unicode(text), [len(self._bytes[i]) for i in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the pieces, eod skipped; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", "replace")

    def save(self, folder: Path) -> None:
        """Writes the model and its description into folder."""
        write_bytes(Path(folder) / _FILE, self.model)
        write_json(Path(folder) / DESCRIPTION, {"kind": self.kind, "vocab_size": self.vocab_size})


def _sentences(documents: Iterable[str]) -> Iterator[str]:
    """Lines, and long lines in parts: what sentencepiece takes for sentences when it learns."""
    room = _TRAINING_CHARACTERS
    for document in documents:
        for line in document.replace(_SPACE, " ").splitlines(keepends=True):
            for start in range(0, len(line), _SENTENCE):
                yield line[start:start + _SENTENCE]
        room -= len(document)
        if room < 0:
            return


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
    """The bytes that piece i stands for."""
    if processor.is_control(i):
        return b""
    if processor.is_unknown(i):
        return "\ufffd".encode("utf-8")
    piece = processor.id_to_piece(i)
    if processor.is_byte(i):  # written <0x41>
        return bytes([int(piece[1:-1], 16)])
    return piece.replace(_SPACE, " ").encode("utf-8")
