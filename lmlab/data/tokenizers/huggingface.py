"""Hugging Face `tokenizers`: a byte-level BPE trained here, or any tokenizer.json."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from lmlab.data.cleaning import valid_unicode
from lmlab.data.tokenizers.plain import DESCRIPTION
from lmlab.utils.errors import UserError
from lmlab.utils.files import write_json, write_text

_FILE = "tokenizer.json"
_EOD = "<|endoftext|>"
# GPT-2 and GPT-NeoX; Llama 3; Llama 2, T5 and RoBERTa; Gemma; ChatML; BERT
_END_TOKENS = (_EOD, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]")


class HuggingFace:
    """A Hugging Face tokenizer that never takes a special token from the text itself."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, kind: str):
        """tokenizer: it is changed: no padding, no truncation, special tokens only by id. kind: "bbpe" or
        "file".

        Raises:
          UserError: if it has none of the known end tokens.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # this setting is not part of tokenizer.json
        ends = [token for token in _END_TOKENS if tokenizer.token_to_id(token) is not None]
        if not ends:
            raise UserError("config.tokenizer.path: the tokenizer has no end token; it needs one of "
                            f"{' '.join(_END_TOKENS)}")
        self.kind = kind
        self.eod = tokenizer.token_to_id(ends[0])
        self.vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().items()
        special = {i: token.content for i, token in added if token.special} | {self.eod: ends[0]}
        unknown = _unknown(tokenizer)
        self._special = {i for i, token in special.items() if unknown not in (i, token)}
        literals = sorted((token for token in special.values() if len(token) > 1), key=len, reverse=True)
        self._inside = re.compile("|".join(rf"(?<={re.escape(token[0])})(?={re.escape(token[1:])})"
                                           for token in literals))

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int) -> "HuggingFace":
        """Learns a byte-level BPE (Radford et al. 2019) of exactly vocab_size ids, eod and 256 bytes counted.

        Raises:
          UserError: if the text has not that many pairs to merge; it names the number that would do.
        """
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[_EOD], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        size = tokenizer.get_vocab_size()
        if size != vocab_size:
            cure = f"large for this text; use {size}" if size < vocab_size else f"small; use at least {size}"
            raise UserError(f"config.tokenizer.vocab_size={vocab_size} is too {cure}")
        return cls(tokenizer, "bbpe")

    @classmethod
    def from_file(cls, path: str | Path, kind: str = "file") -> "HuggingFace":
        """A tokenizer.json, or the folder that holds one; UserError if there is none or it cannot be read."""
        path = Path(path or _FILE).expanduser()
        path = path / _FILE if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"config.tokenizer.path={path}: no such file; give the path of a tokenizer.json")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception
            raise UserError(f"config.tokenizer.path={path}: not a tokenizer.json ({error})") from error
        return cls(tokenizer, kind)

    def encode(self, text: str) -> list[int]:
        """The ids of text; lone surrogates become U+FFFD."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text, on all cores."""
        texts = [valid_unicode(text) for text in texts]
        ids = [found.ids for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        return [found if self._special.isdisjoint(found) else self._in_parts(text)
                for text, found in zip(texts, ids)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, eod skipped; undecodable bytes become U+FFFD."""
        return self._tokenizer.decode([int(i) for i in ids if i != self.eod], skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json and the description into folder."""
        write_text(Path(folder) / _FILE, self._tokenizer.to_str())
        write_json(Path(folder) / DESCRIPTION, {"kind": self.kind, "vocab_size": self.vocab_size})

    def _in_parts(self, text: str) -> list[int]:
        """The ids of a text whose model knows a special token as an ordinary word (Unigram, WordLevel): such
        words are cut after their first character. What a normaliser turns into a special token only
        afterwards is dropped. """
        parts = self._tokenizer.encode_batch_fast(self._inside.split(text), add_special_tokens=False)
        return [i for part in parts for i in part.ids if i not in self._special]


def _unknown(tokenizer: tokenizers.Tokenizer) -> str | int | None:
    """The unknown token (or its id): the one special token that text may well give."""
    model = json.loads(tokenizer.to_str())["model"]
    return model.get("unk_token", model.get("unk_id"))
