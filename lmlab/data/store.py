"""The token store: each split once on disk as one flat array of ids, memory-mapped by everything that
follows.

`<split>.bin` holds E d1 E d2 E ... dn E, where E is the tokenizer's eod, as uint16 (uint32 for vocabularies
over 65,536); `<split>.offsets.npy` the n + 1 places of the E's; `meta.json` the counts, made last. Of pairs, the
source and the target are each one d: pair k is d(2k) and d(2k + 1), from 0. """

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lmlab.data import cleaning, tokenizers
from lmlab.data.corpus import Corpus
from lmlab.data.readers import SEPARATOR
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, new_folder, sha256, write_json

_VERSION = 1  # raise when the layout changes: older stores are then made anew
_BATCH_CHARACTERS = 1 << 20


class TokenStore(NamedTuple):
    """One split of a store.

    Attributes:
      tokens: (n,) memory-mapped ids. offsets: (fields * documents + 1,) int64 places of the eod tokens.
      meta: documents, tokens, bytes, words (of pairs, those of the targets) and overlap_13gram of this split;
        fields (2 for pairs, 1 for plain text), dtype, vocab_size, tokenizer (digest), fingerprint, name and
        licence of the whole. folder, split: where it lies. """

    tokens: np.ndarray
    offsets: np.ndarray
    meta: dict
    folder: Path
    split: str


def prepare(corpus: Corpus, tokenizer: tokenizers.Tokenizer, folder: str | Path = "",
            progress: bool = False) -> Path:
    """Writes every split's tokens once; a store that is there already, of the same text and tokenizer, is
    used.

    Args:
      folder: where; "" is a folder in the user's cache, named by the key. progress: show a bar for each
        split.
    Returns:
      The folder. It appears whole or not at all, whatever else writes it at the same time.
    Raises:
      UserError: if the folder holds something else.
    """
    tokenizer_digest = tokenizers.digest(tokenizer)
    key = sha256(json.dumps([_VERSION, corpus.fingerprint, tokenizer_digest]))
    folder = Path(folder) if folder else cache_dir() / "tokens" / key[:24]
    if folder.is_dir():
        return _checked(folder, key)
    with new_folder(folder) as temporary:
        splits = {split: _write(corpus, tokenizer, split, temporary, progress) for split in corpus.splits}
        streams = {split: functools.partial(corpus.documents, split) for split in corpus.splits}
        shares = cleaning.overlap(streams.pop("train"), streams) if "train" in streams else {}
        for split, share in shares.items():
            splits[split]["overlap_13gram"] = share
        write_json(temporary / "meta.json", {
            "key": key, "name": corpus.name, "licence": corpus.licence, "fingerprint": corpus.fingerprint,
            "tokenizer": tokenizer_digest, "vocab_size": tokenizer.vocab_size, "eod": tokenizer.eod,
            "fields": 2 if corpus.pairs else 1, "dtype": _dtype(tokenizer).__name__, "splits": splits})
    return _checked(folder, key)  # another process may have put it there first


def open_split(folder: str | Path, split: str) -> TokenStore:
    """Maps one split of a prepared folder; UserError if the split is not there or its files are not whole."""
    folder = Path(folder)
    meta = _meta(folder)
    if split not in meta["splits"]:
        raise UserError(f"{folder} has no split {split!r}; it has {', '.join(meta['splits'])}")
    counts = meta["splits"][split]
    dtype = np.dtype(meta["dtype"])
    file = folder / f"{split}.bin"
    if not file.is_file() or file.stat().st_size != counts["tokens"] * dtype.itemsize:
        raise UserError(f"{file}: the token file is not whole; remove {folder} and it will be made again")
    tokens = np.memmap(file, dtype, mode="r")
    offsets = np.load(folder / f"{split}.offsets.npy", mmap_mode="r")
    common = {name: value for name, value in meta.items() if name != "splits"}
    return TokenStore(tokens, offsets, {**common, **counts}, folder, split)


def _write(corpus: Corpus, tokenizer: tokenizers.Tokenizer, split: str, folder: Path, progress: bool) -> dict:
    """Writes one split's tokens and offsets; returns its counts."""
    eod = np.array([tokenizer.eod], _dtype(tokenizer))
    counts = {"documents": 0, "tokens": 1, "bytes": 0, "words": 0}
    lengths = [0]
    bar = tqdm(total=corpus.counts[split], desc=f"tokenizing {split}", unit="doc", disable=not progress)
    with open(folder / f"{split}.bin", "wb") as file, bar:
        file.write(eod.tobytes())
        for texts in _batches(corpus.documents(split)):
            parts = [part for text in texts for part in (text.split(SEPARATOR) if corpus.pairs else [text])]
            encoded = iter(tokenizer.encode_batch(parts))
            for text in texts:
                ids = [next(encoded) for _ in range(2 if corpus.pairs else 1)]
                if not all(ids):  # a tokenizer that drops control characters may leave nothing
                    continue
                for part in ids:
                    file.write(np.array([*part, tokenizer.eod], eod.dtype).tobytes())
                    lengths.append(len(part) + 1)
                text = text.split(SEPARATOR)[-1] if corpus.pairs else text
                counts["documents"] += 1
                counts["bytes"] += len(text.encode("utf-8"))
                counts["words"] += len(text.split())
            bar.update(len(texts))
    offsets = np.cumsum(lengths, dtype=np.int64)
    np.save(folder / f"{split}.offsets.npy", offsets)
    return counts | {"tokens": int(offsets[-1]) + 1}


def _batches(documents: Iterator[str]) -> Iterator[list[str]]:
    """Documents in lists of about a million characters, enough to keep a parallel tokenizer busy."""
    batch, size = [], 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _dtype(tokenizer: tokenizers.Tokenizer) -> type:
    """The narrowest type that holds every id."""
    return np.uint16 if tokenizer.vocab_size <= 65536 else np.uint32


def _meta(folder: Path) -> dict:
    """The store's description; UserError if there is none."""
    try:
        return json.loads((folder / "meta.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no token store here (meta.json is missing or damaged); "
                        "name another folder or remove this one") from error


def _checked(folder: Path, key: str) -> Path:
    """folder, if it is the store that key names."""
    if _meta(folder).get("key") != key:
        raise UserError(f"{folder} holds the tokens of another text or tokenizer; name another folder")
    return folder
