"""The token store: each split once on disk as one flat array of ids, read by everything that follows.

`<split>.bin` holds E d1 E d2 E ... dn E, where E is the tokenizer's eod, as uint16 (uint32 for vocabularies
over 65,536); `<split>.offsets.npy` the n + 1 places of the E's; `<split>.crc32.npy` a checksum of each block of the
.bin; `meta.json` the counts, the SHA-256 of the two .npy files and its own, made last: no byte of a store can change
unnoticed. Of pairs, the source and the target are each one d: pair k is d(2k) and d(2k + 1), from 0. """

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lmlab.data import blocks, cleaning, tokenizers
from lmlab.data.corpus import Corpus
from lmlab.data.readers import SEPARATOR
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, json_text, new_folder, sha256, sha256_file, write_json

_VERSION = 2  # raise when the layout changes: older stores are then made anew
_BATCH_CHARACTERS = 1 << 20


class TokenStore(NamedTuple):
    """One split of a store.

    Attributes:
      tokens: (n,) ids, read by slices. offsets: (fields * documents + 1,) int64 places of the eod tokens.
      meta: documents, tokens, bytes, words (of pairs, those of the targets) and overlap_13gram of this split;
        fields (2 for pairs, 1 for plain text), dtype, vocab_size, tokenizer (digest), fingerprint, name and
        licence of the whole. folder, split: where it lies. """

    tokens: blocks.Blocks
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
        write_json(temporary / "meta.json", _sealed({
            "key": key, "name": corpus.name, "licence": corpus.licence, "fingerprint": corpus.fingerprint,
            "tokenizer": tokenizer_digest, "vocab_size": tokenizer.vocab_size, "eod": tokenizer.eod,
            "fields": 2 if corpus.pairs else 1, "dtype": _dtype(tokenizer).__name__, "splits": splits}))
    return _checked(folder, key)  # another process may have put it there first


def open_split(folder: str | Path, split: str, damaged_rows: int = 0) -> TokenStore:
    """Opens one split of a prepared folder.

    Args:
      damaged_rows: how many reads of the tokens may fail with `blocks.Damaged`, which makes a row of padding. Leave it
        at 0 for an evaluation: its scores are of all rows or of none.
    Raises:
      UserError: if the split is not there, its files are not whole, or, later, more reads than that meet damage.
    """
    folder = Path(folder)
    meta = _meta(folder)
    if split not in meta["splits"]:
        raise UserError(f"{folder} has no split {split!r}; it has {', '.join(meta['splits'])}")
    counts = meta["splits"][split]
    dtype = np.dtype(meta["dtype"])
    file, arrays = folder / f"{split}.bin", {}
    if not file.is_file() or file.stat().st_size != counts["tokens"] * dtype.itemsize:
        raise UserError(f"{file}: the token file is not whole; remove {folder} and it will be made again")
    for name, wanted in counts["digests"].items():
        part = folder / f"{split}.{name}.npy"
        if not part.is_file() or sha256_file(part) != wanted:
            raise UserError(f"{part} is missing or damaged; remove {folder} and it will be made again")
        arrays[name] = np.asarray(np.load(part, mmap_mode="r"))
    tokens = blocks.Blocks(file, dtype, counts["tokens"], arrays["crc32"], damaged_rows)
    common = {name: value for name, value in meta.items() if name != "splits"}
    return TokenStore(tokens, arrays["offsets"], {**common, **counts}, folder, split)


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
    if not counts["documents"]:
        raise UserError(f"{corpus.name}: the tokenizer leaves nothing of the {split} split's "
                        f"{corpus.counts[split]} documents; use another config.tokenizer.name, or other text")
    offsets = np.cumsum(lengths, dtype=np.int64)
    arrays = {"offsets": offsets, "crc32": blocks.checksums(folder / f"{split}.bin")}
    for name, array in arrays.items():
        np.save(folder / f"{split}.{name}.npy", array)
    return counts | {"tokens": int(offsets[-1]) + 1,
                     "digests": {name: sha256_file(folder / f"{split}.{name}.npy") for name in arrays}}


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
        text = (folder / "meta.json").read_bytes().decode("utf-8")
        meta = json.loads(text)
        if json_text(_sealed(meta), indent=2) + "\n" != text:
            raise ValueError("its SHA-256 differs")
        return meta
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder}: no token store here (meta.json is missing or damaged); "
                        "name another folder or remove this one") from error


def _sealed(meta: dict) -> dict:
    """meta with the SHA-256 of all that it holds."""
    meta = {name: value for name, value in meta.items() if name != "sha256"}
    return meta | {"sha256": sha256(json_text(meta))}


def _checked(folder: Path, key: str) -> Path:
    """folder, if it is the store that key names."""
    if _meta(folder).get("key") != key:
        raise UserError(f"{folder} holds the tokens of another text or tokenizer; name another folder")
    return folder
