"""Hugging Face `tokenizers`: a byte-level BPE trained here, a WordPiece (`wordpiece`), or any tokenizer.json."""

import base64
import functools
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from lmlab.data.cleaning import valid_unicode
from lmlab.data.tokenizers.plain import DESCRIPTION
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, write_json, write_text

FILE = "tokenizer.json"
EOD = "<|endoftext|>"
# GPT-2 and GPT-NeoX; Llama 3; Llama 2, T5 and RoBERTa; Gemma; ChatML; BERT
_END_TOKENS = (EOD, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]")
# How special tokens are written, by role; RoBERTa's <s> stands where BERT's [CLS] does.
ROLES = {"mask": ("[MASK]", "<mask>"), "cls": ("[CLS]", "<cls>", "<s>"), "pad": ("[PAD]", "<pad>"),
         "unk": ("[UNK]", "<unk>"), **{f"extra_{n}": (f"<extra_id_{n}>",) for n in range(100)}}


_MOST_IDS = 2 ** 24  # and a library that lists the ids up to the largest, or repeats a replacement, takes all memory
_GROWTH = 2 ** 12


class HuggingFace:
    """A Hugging Face tokenizer that takes a special token from the text itself in `encode_markup` only.

    What is no special token of its own files (an added token that is not marked so) is found in any text.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, kind: str, *, eod: int = -1, specials: dict | None = None,
                 chat_template: str = "", variables: dict | None = None):
        """Wraps a tokenizer; it is changed: no padding, no truncation, special tokens only by id.

        Args:
          kind: "bbpe", "wordpiece", "wordpiece-uncased" or "file". eod: -1: the first of the known end tokens.
          specials: ids by role, over those that the names of the special tokens tell.
          chat_template: a Jinja template. variables: what it may ask for by name, as {"bos_token": "<s>"}.
        Raises:
          UserError: if it has none of the known end tokens.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # this setting is not part of tokenizer.json
        ends = [token for token in _END_TOKENS if tokenizer.token_to_id(token) is not None]
        if eod < 0 and not ends:
            raise UserError("config.tokenizer.path: the tokenizer has no end token; it needs one of "
                            f"{' '.join(_END_TOKENS)}")
        given = {"eod": eod if eod >= 0 else None, "specials": specials, "chat_template": chat_template,
                 "variables": variables}
        self._given = {name: value for name, value in given.items() if value}
        self.kind, self.chat_template, self.variables = kind, chat_template, variables or {}
        self.eod = eod if eod >= 0 else tokenizer.token_to_id(ends[0])
        self.vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().items()
        special = {i: token.content for i, token in added if token.special}
        special |= {self.eod: tokenizer.id_to_token(self.eod)}
        unknown = unknown_token(tokenizer)
        self.controls = {i for i, token in special.items() if token != unknown}
        self._literals = {token: i for i, token in special.items() if len(token) > 1}
        self.specials = _roles(special, unknown, tokenizer) | (specials or {})

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
            vocab_size=vocab_size, special_tokens=[EOD], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        check_size(tokenizer.get_vocab_size(), vocab_size)
        return cls(tokenizer, "bbpe")

    @classmethod
    def from_file(cls, path: str | Path, kind: str = "file") -> "HuggingFace":
        """A tokenizer.json, or the folder that holds one (and what `save` wrote beside it).

        Raises:
          UserError: if there is none or it cannot be read.
        """
        path = Path(path or FILE).expanduser()
        folder, path = (path, path / FILE) if path.is_dir() else (None, path)
        if not path.is_file():
            raise UserError(f"config.tokenizer.path={path}: no such file; give the path of a tokenizer.json")
        try:
            tokenizer = read(path)
        except (UserError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a bare Exception of the library's, or a panic, which is none
            raise UserError(f"config.tokenizer.path={path}: not a tokenizer.json ({error})") from error
        more = {}
        if folder and (folder / DESCRIPTION).is_file():
            more = json.loads(read_bytes(folder / DESCRIPTION))
        return cls(tokenizer, kind, **{name: value for name, value in more.items()
                                       if name in ("eod", "specials", "chat_template", "variables")})

    def encode(self, text: str) -> list[int]:
        """The ids of text; lone surrogates become U+FFFD."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for each text, on all cores."""
        texts = [valid_unicode(text) for text in texts]
        ids = [found.ids for found in _tried(self._tokenizer.encode_batch_fast, texts, add_special_tokens=False)]
        return [found if self.controls.isdisjoint(found) else self._in_parts(text)
                for text, found in zip(texts, ids)]

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """encode, and the characters of each token, as the library counts them through its normalisers."""
        text = valid_unicode(text)
        found = _tried(self._tokenizer.encode, text, add_special_tokens=False)
        if self.controls.isdisjoint(found.ids):
            return found.ids, found.offsets
        ids, offsets, at = [], [], 0
        for part in self._inside.split(text):
            found = _tried(self._tokenizer.encode, part, add_special_tokens=False)
            for i, (start, end) in zip(found.ids, found.offsets, strict=True):
                if i not in self.controls:
                    ids.append(i)
                    offsets.append((at + start, at + end))
            at += len(part)
        return ids, offsets

    def encode_markup(self, text: str) -> list[int]:
        """The ids of text in which a special token, written out, is itself: for text that no stranger wrote, or
        that `shield` went over."""
        text = valid_unicode(text)
        ids = _tried(self._trusting.encode, text, add_special_tokens=False).ids
        parts = re.split(f"({self._any_literal})", text) if self._literals else [text]
        if [i for i in ids if i in self.controls] == [i for i in map(self._literals.get, parts) if i in self.controls]:
            return ids
        # the normaliser made a special token of what was none
        return [i for part in parts if part
                for i in ([self._literals[part]] if part in self._literals else self.encode(part))]

    def shield(self, text: str, mark: str) -> str:
        """text with `mark` inside all that reads like a special token, and at an end that could become one together
        with its neighbour."""
        return self._near_literals.sub(mark, self._inside.sub(mark, text)) if self._literals else text

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, eod skipped; undecodable bytes become U+FFFD."""
        return _tried(self._tokenizer.decode, [int(i) for i in ids if i != self.eod], skip_special_tokens=False)

    def to_json(self) -> dict:
        """What tokenizer.json holds."""
        return json.loads(self._tokenizer.to_str())

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json and the description into folder."""
        write_text(Path(folder) / FILE, self._tokenizer.to_str())
        write_json(Path(folder) / DESCRIPTION, {"kind": self.kind, "vocab_size": self.vocab_size, **self._given})

    def _in_parts(self, text: str) -> list[int]:
        """The ids of a text whose model knows a special token as an ordinary word (Unigram, WordLevel): such
        words are cut after their first character. What a normaliser turns into a special token only
        afterwards is dropped. """
        parts = _tried(self._tokenizer.encode_batch_fast, self._inside.split(text), add_special_tokens=False)
        return [i for part in parts for i in part.ids if i not in self.controls]

    @functools.cached_property
    def _any_literal(self) -> str:
        """A pattern of the special tokens, the longest first."""
        return "|".join(map(re.escape, sorted(self._literals, key=len, reverse=True)))

    @functools.cached_property
    def _inside(self) -> re.Pattern:
        """Matches the empty place after the first character of each special token."""
        return re.compile("|".join(rf"(?<={re.escape(token[0])})(?={re.escape(token[1:])})"
                                   for token in sorted(self._literals, key=len, reverse=True)) or "(?!)")

    @functools.cached_property
    def _near_literals(self) -> re.Pattern:
        """Matches the end of a text that ends as a special token begins, and the start of one that begins as one
        ends."""
        cuts = [(token[:n], token[n:]) for token in self._literals for n in range(1, len(token))]
        heads = "|".join(rf"(?<={re.escape(head)})" for head in sorted({head for head, _ in cuts}))
        tails = "|".join(re.escape(tail) for tail in sorted({tail for _, tail in cuts}))
        return re.compile(rf"\A(?={tails})|(?:{heads})\Z")

    @functools.cached_property
    def _trusting(self) -> tokenizers.Tokenizer:
        """A copy that finds special tokens in the text as they are written, before it is normalised. A copy, since a
        switch to and fro would leave other threads without their guard."""
        content = self.to_json()
        for token in content["added_tokens"]:
            token["normalized"] = token["normalized"] and not token["special"]
        return tokenizers.Tokenizer.from_str(json.dumps(content))


def read(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a tokenizer.json, read only once its numbers are found to be possible: the library believes
    them, and ends the process where they ask for more memory than there is.

    Raises:
      UserError: where they are not. Whatever the library raises for a file that it cannot read.
    """
    text = read_bytes(path).decode("utf-8")
    said = json.loads(text)
    for name in ("normalizer", "decoder"):
        if (grows := _growth(said.get(name))) > _GROWTH:
            raise UserError(f"{path}: its {name} makes texts {grows} times as long; fetch it again")
    return checked(tokenizers.Tokenizer.from_str(text))


def checked(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A tokenizer of a file, padding and truncation off; a UserError where its ids would fill the memory."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= _MOST_IDS:
        raise UserError(f"the tokenizer has an id {largest}, and no vocabulary has {_MOST_IDS}; fetch it again")
    return tokenizer


def _growth(part) -> int:
    """How many times as long a normaliser or decoder can make a text, by what it puts there."""
    if not isinstance(part, dict):
        return 1
    if isinstance(packed := part.get("precompiled_charsmap"), str):
        check_charsmap(base64.b64decode(packed))
    inside = part.get("normalizers") or part.get("decoders") or []
    own = len(str(part.get("content", ""))) if part.get("type") == "Replace" else 1 + len(str(part.get("prepend", "")))
    return math.prod(map(_growth, inside), start=max(1, own))


def check_charsmap(content: bytes) -> None:
    """Raises a UserError where sentencepiece's table of characters, its own size first, is not of that size."""
    if content and int.from_bytes(content[:4], "little") > len(content) - 4:
        raise UserError("the tokenizer's precompiled_charsmap is cut off; fetch it again")


def _tried(method, *args, **kwargs):
    """What the library makes of its arguments; a UserError where it fails or panics, on a text that it cannot take."""
    try:
        return method(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic is no Exception
        raise UserError(f"the tokenizer fails on this text ({type(error).__name__}: {str(error)[:200]}); its files are "
                        "damaged, fetch them again") from error


def check_size(size: int, wanted: int) -> None:
    """Raises a UserError, naming the size that would do, where a trained vocabulary has not the wanted one."""
    if size != wanted:
        cure = f"large for this text; use {size}" if size < wanted else f"small; use at least {size}"
        raise UserError(f"config.tokenizer.vocab_size={wanted} is too {cure}")


def unknown_token(tokenizer: tokenizers.Tokenizer) -> str | None:
    """The unknown token: the one special token that text may well give."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:
        return tokenizer.id_to_token(model["unk_id"])
    return model.get("unk_token")


def _roles(special: dict[int, str], unknown: str | None, tokenizer: tokenizers.Tokenizer) -> dict[str, int]:
    """Ids by role, as the names of the special tokens (id -> name) tell."""
    ids = {token: i for i, token in special.items()}
    found = {role: next((ids[name] for name in names if name in ids), None) for role, names in ROLES.items()}
    if unknown is not None:
        found["unk"] = tokenizer.token_to_id(unknown)
    return {role: i for role, i in found.items() if i is not None}
