"""Where text comes from: the user's files, prepared tfds folders; see also `embedded` and `catalog`.

A source is a name, a licence, and streams: {"all": text still to be split} or {"train": ..., "validation":
...}, each a function that starts a fresh pass over the documents. Nothing is held in memory but the document
in hand, and of a .json of examples the file. """

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lmlab.data import formats, readers
from lmlab.utils.errors import UserError


class Source(NamedTuple):
    """Text before the split: streams maps "all", "train", "validation" or "test" to a stream. `kind` is "text", "pairs"
    (a document is the source text, `readers.SEPARATOR` and the target text) or the name of a format (a document is an
    example, as `formats.write` writes it)."""

    name: str
    licence: str
    streams: dict[str, Callable[[], Iterator[str]]]
    single_text: bool = False  # one plain text file: it can only be split by its tail
    kind: str = "text"


def files(path: str, *, field: str = "text", validation_path: str = "", test_path: str = "",
          skip: Callable[[UserError], None] = readers.refuse, reads: str | None = None) -> Source:
    """The user's own .txt, .csv, .tsv and .jsonl files (.gz of each): a .txt is one document, a row is one document.

    Args:
      path: file names or globs, comma separated; "train.de+train.en" is two plain text files whose lines are pairs.
      validation_path, test_path: the same, held-out text in files of its own.
      field: the column or field that holds the text; two of them, as in "de,en", make pairs. Of examples: see
        `formats.documents`.
      skip: what to do with a damaged record, see `readers.read`.
      reads: the format whose examples the files hold, which then may be .json too; None: text or pairs.
    Raises:
      UserError: for a path that matches nothing, pairs beside plain text, and at the first pass for a file that cannot
        be read as text.
    """
    if test_path and not validation_path:
        raise UserError("config.data.test_path is set and config.data.validation_path is not; set both")
    names = {"train" if validation_path else "all": path, "validation": validation_path, "test": test_path}
    also, read = ((".json",), functools.partial(formats.documents, reads)) if reads else ((), readers.read)
    found = {split: readers.find(names[split], also) for split in names if names[split]}
    streams = {split: lambda paths=paths: (text for one in paths for text in read(one, field, skip))
               for split, paths in found.items()}
    first = next(iter(found.values()))
    name = first[0].name if len(first) == 1 else f"{len(first)} files ({first[0].name} ...)"
    if reads:
        return Source(name, "the user's own", streams, kind=reads)
    pairs = {readers.is_pairs(path, field) for paths in found.values() for path in paths}
    if len(pairs) > 1:
        raise UserError(f"config.data.path={path}: some of the files hold pairs and some plain text (config.data.field="
                        f"{field}); use files of one kind")
    single = pairs == {False} and len(first) == 1 and readers.kind(first[0]) == ".txt"
    return Source(name, "the user's own", streams, single, "pairs" if pairs == {True} else "text")


def tfds(path: str, *, field: str = "text", skip: Callable[[UserError], None] = readers.refuse) -> Source:
    """A data set prepared by tfds as ArrayRecord, read without TensorFlow; its own splits are kept.

    Args:
      path: the folder with dataset_info.json (.../name/config/version). field: the text feature, or two for pairs.
      skip: what to do with a record that is not UTF-8, see `readers.read`.
    Raises:
      UserError: for a folder that is no such data set, or has no such feature or no train split.
    """
    import tensorflow_datasets  # slow to import, and only wanted here

    for file in Path(path).glob("*"):
        if not (file.is_file() or file.is_dir()):  # a pipe would be waited for, a device read without end
            raise UserError(f"config.data.path={path}: {file.name} is no file; copy the folder again")
    try:
        builder = tensorflow_datasets.builder_from_directory(path)
        features, splits = list(builder.info.features), list(builder.info.splits)
    except Exception as error:  # tfds raises many kinds for a folder that is not its own
        raise UserError(f"config.data.path={path}: not a folder prepared by tfds ({type(error).__name__}); "
                        "it must hold dataset_info.json") from error
    names = readers.fields(field)
    if not set(names) <= set(features):
        raise UserError(f"config.data.field={field}: no such feature in {path}; it has {', '.join(features)}")
    if "train" not in splits:
        raise UserError(f"config.data.path={path}: no train split; it has {', '.join(splits) or 'none'}")

    def stream(split: str) -> Iterator[str]:
        try:
            for number, record in enumerate(builder.as_data_source(split)):
                values = [record[name] for name in names]
                try:
                    texts = [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]
                except UnicodeDecodeError as error:
                    skip(UserError(f"config.data.path={path}: record {number} of {split} (from 0) is not UTF-8: "
                                   f"{error}"))
                    continue
                yield readers.pair(*texts) if len(texts) == 2 else texts[0]
        except UserError:
            raise
        except Exception as error:  # as above, and ArrayRecord raises others again
            raise UserError(f"config.data.path={path}: the records of {split} are damaged ({type(error).__name__}: "
                            f"{str(error)[:200]}); prepare or copy the folder again") from error

    own = [split for split in ("train", "validation", "test") if split in splits]
    streams = {"all" if split == "train" and "validation" not in own else split: split for split in own}
    licence = str(builder.info.redistribution_info.license or "") or "not stated by the data set"
    return Source(str(builder.info.full_name), licence,
                  {name: lambda split=split: stream(split) for name, split in streams.items()},
                  kind="pairs" if len(names) == 2 else "text")
