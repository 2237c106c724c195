"""A corpus: documents of one source, deduplicated and split, and a fingerprint of both."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field as dataclass_field

from lmlab.data import cleaning, embedded, formats, readers, sources
from lmlab.data.formats import rows
from lmlab.utils.errors import UserError, did_you_mean

_SPLITS = ("train", "validation", "test")
_VERSION = 1  # raise when the same text would be split or cleaned in another way


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents by split.

    Attributes:
      name: what it is, with its version. licence: as the source states it.
      splits: ("train", "validation", "test"); test may be absent.
      fingerprint: hash of the content and of how it was split. counts: documents in each split.
      kind: "text"; "pairs", where a document is a source text, `readers.SEPARATOR` and a target text; or a format's
        name, where it is an example as `formats.write` writes it.
    """

    name: str
    licence: str
    splits: tuple[str, ...]
    fingerprint: str
    counts: dict[str, int]
    _documents: Callable[[str], Iterator[str]] = dataclass_field(repr=False)
    kind: str = "text"

    @property
    def pairs(self) -> bool:
        """Whether the documents are pairs."""
        return self.kind == "pairs"

    def documents(self, split: str) -> Iterator[str]:
        """A fresh pass over a split's documents, in a fixed order; UserError for a split it has not."""
        if split not in self.splits:
            raise UserError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self._documents(split)

    def examples(self, split: str) -> Iterator[dict]:
        """A fresh pass over a split's examples, as plain JSON values, of pairs {"source", "target"}; UserError where
        the documents are none."""
        if self.pairs:
            return (dict(zip(("source", "target"), text.split(readers.SEPARATOR))) for text in self.documents(split))
        if self.kind == "text":
            raise UserError(f"{self.name} holds {_what(self.kind)} and no examples of a format; name other data with "
                            "config.data.path=")
        return map(json.loads, self.documents(split))

    def texts(self, split: str) -> Iterator[str]:
        """A fresh pass over the text in a split, what a tokenizer learns from: documents, or the texts of examples."""
        if self.kind in ("text", "pairs"):
            return self.documents(split)
        return (text for example in self.examples(split) for text in formats.find(self.kind).texts(example))


def build(source: str = "python_docs", path: str = "", validation: float = 0.05, test: float = 0.05,
          split: str = "document", dedup: str = "auto", field: str = "text", validation_path: str = "",
          test_path: str = "", damaged: int = 0, folds: int = 0, fold: int = 0, shots: int = 0, *,
          reads: str | None = None) -> Corpus:
    """Reads all the text once, to check it and to fingerprint it, and returns it split.

    Args:
      source: "python_docs" (the running Python's documentation, nothing to download), "python_calls" (its functions,
        each with what it does: pairs), "files", "tfds" (a prepared folder) or "catalog" (a pinned data set by
        name). A path with the default source means "files".
      path: files or globs, comma separated ("train.de+train.en": two files whose lines are pairs); the tfds
        folder; the catalog's name.
      validation, test: shares held out; test may be 0. Not used for splits the source brings along.
      split: "document" puts each document where a hash of it falls, so that adding text moves none; "tail"
        cuts each document's contiguous tail, by characters. One single .txt file is always split by its tail.
      dedup: "document", "paragraph" or "none" (see `cleaning.deduplicate`), before the split; "auto" is
        "paragraph" for python_docs, whose topics quote one another, and "document" otherwise.
      field: the csv or tsv column, jsonl field or tfds feature with the text; two, as in "de,en", make pairs. Of
        examples, what the file calls the format's FIELDS; at "text" it calls them so.
      validation_path, test_path: held-out text in files of its own; then path is all training text.
      damaged: how many damaged records (see `readers.read`) may be left out; how many were is told on stderr. 0: none.
      folds, fold: cross-validation: the validation split is the part number `fold`, from 0, of `folds` parts of all
        that is not in the test split, whatever `validation` is. folds=0: none.
      shots: of labelled examples that are trained on, only the first so many of each label are kept; 0: all.
      reads: the format whose examples are wanted (see `formats`): of "files" and of some of the catalog; None: text or
        pairs, the texts of the catalog's examples too, each a document. Examples are split by the format's key, so that
        what they share stays together.
    Raises:
      UserError: for an unknown value, unreadable text, or a split that no document falls into.
    """
    check(source, path, validation, test, split, dedup, damaged, folds, fold, shots)
    skip = readers.Damage(damaged)
    read = _open(source, path, field, validation_path, test_path, skip, reads)
    if dedup == "auto":
        dedup = "paragraph" if source == "python_docs" and not path else "document"
    test = 0.0 if "test" in read.streams else test
    _check_kind(read, split, dedup, shots)
    rule = (validation, test, split == "tail" or read.single_text, dedup) + ((folds, fold) if folds else ())
    if folds and (rule[2] or "validation" in read.streams):
        raise UserError(f"config.data.folds={folds}: the validation split of {read.name} is "
                        f"{'the tail of its text' if rule[2] else 'given'}; leave folds at 0, or give documents to be "
                        "split, with config.data.split=document")
    held = {"train", "validation"} | ({"test"} if test or "test" in read.streams else set())
    splits = tuple(name for name in _SPLITS if name in (held if "all" in read.streams else read.streams))

    def documents(wanted: str) -> Iterator[str]:
        stream = wanted if wanted in read.streams else "all"
        return (text for name, text in _few(_deal(read, stream, *rule), shots) if name == wanted)

    counts, digest = dict.fromkeys(splits, 0), hashlib.sha256(repr((_VERSION, rule)).encode() + _mark(read))
    met = Counter()
    for stream in read.streams:
        for name, text in _few(_deal(read, stream, *rule, met=met), shots):
            data = text.encode("utf-8")
            digest.update(f"{name} {len(data)}\n".encode() + data)
            counts[name] += 1
    _tell(read, skip, met)
    _check_counts(read, counts, met, rule[2])
    return Corpus(read.name, read.licence, splits, digest.hexdigest(), counts, documents, read.kind)


def _what(kind: str) -> str:
    """What data of a kind are called."""
    return kind if kind in ("text", "pairs") else f"{kind} examples"


def _check_kind(source: sources.Source, split: str, dedup: str, shots: int) -> None:
    """Raises a UserError where the settings are of text and the source has examples, or the other way round."""
    if source.kind != "text" and (split == "tail" or dedup == "paragraph"):
        raise UserError(f"config.data.split={split}, config.data.dedup={dedup}: {source.name} holds "
                        f"{_what(source.kind)}, which stay whole; use document and document")
    if shots and source.kind != "labelled":
        raise UserError(f"config.data.shots={shots} is of labelled examples, and {source.name} holds "
                        f"{_what(source.kind)}; set it to 0")


def _mark(source: sources.Source) -> bytes:
    """What the kind of a source adds to its fingerprint."""
    return b"" if source.kind == "text" else source.kind.encode()


def _tell(source: sources.Source, skip: readers.Damage, met: Counter) -> None:
    """Says on stderr what was left out or mended."""
    if skip.seen:
        print(f"{source.name}: {len(skip.seen)} damaged records left out (config.data.damaged={skip.limit}); the "
              f"first: {next(iter(skip.seen))}", file=sys.stderr)
    if met["mended"]:
        print(f"{source.name}: lone surrogates, which are no characters, became U+FFFD in {met['mended']} of "
              f"{met['read']} documents", file=sys.stderr)


def _check_counts(source: sources.Source, counts: dict[str, int], met: Counter, by_tail: bool) -> None:
    """Raises a UserError for a split that has no document, with what would do."""
    for name, count in counts.items():
        if count:
            continue
        if source.single_text:
            raise UserError(f"{source.name}: too short to be cut into {', '.join(counts)}; give more text, or hold out "
                            "other shares (config.data.validation, config.data.test)")
        kept = sum(counts.values())
        same = f" ({met['read'] - kept} of the {met['read']} read are repetitions)" if met["read"] > kept else ""
        tail = "" if source.kind != "text" or by_tail else "set config.data.split=tail, "
        raise UserError(f"{source.name}: none of {kept} documents{same} is in its {name} split; add documents, {tail}"
                        "or hold out other shares (config.data.validation, config.data.test)")


def source_of(path: str) -> tuple[str, str]:
    """(source, path) of `build`: of "catalog:NAME" the catalog's, else files."""
    return ("catalog", path.removeprefix("catalog:")) if path.startswith("catalog:") else ("files", path)


def whole(path: str, field: str = "text", *, reads: str | None = None) -> Corpus:
    """All text, or examples, of the files that `path` names (or "catalog:NAME") as one split, "all", nothing left out:
    to be scored as it is."""
    read = _open(*source_of(path), field, "", "", readers.refuse, reads)
    documents = lambda _: filter(None, map(cleaning.valid_unicode, read.streams["all"]()))
    digest, count = hashlib.sha256(_mark(read)), 0
    for text in documents("all"):
        digest.update(hashlib.sha256(text.encode("utf-8")).digest())
        count += 1
    return Corpus(read.name, read.licence, ("all",), digest.hexdigest(), {"all": count}, documents, read.kind)


def check(source: str, path: str, validation: float, test: float, split: str, dedup: str,
          damaged: int = 0, folds: int = 0, fold: int = 0, shots: int = 0, **_: str) -> None:
    """Refuses values of `build` that mean nothing, by name, and reads no text. Raises UserError."""
    choices = (("source", source, ("python_docs", "python_calls", "files", "tfds", "catalog")),
               ("split", split, ("document", "tail")),
               ("dedup", dedup, ("auto", "document", "paragraph", "none")))
    for name, value, allowed in choices:
        if value not in allowed:
            raise UserError(f"config.data.{name}={value!r} is unknown{did_you_mean(value, allowed)}; "
                            f"one of {', '.join(allowed)}")
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UserError(f"config.data.validation={validation}, config.data.test={test}: the first must be "
                        "above 0, the second at least 0, their sum below 1")
    for name, value in (("damaged", damaged), ("shots", shots)):
        if value < 0:
            raise UserError(f"config.data.{name}={value} must be at least 0")
    if folds and not (folds > 1 and 0 <= fold < folds):
        raise UserError(f"config.data.folds={folds}, config.data.fold={fold}: the first must be 0 (none) or at least "
                        "2, the second from 0 to one less than the first")
    if source not in ("python_docs", "python_calls") and not path:
        raise UserError(f"config.data.source={source} needs config.data.path=")
    if source == "python_calls" and path:
        raise UserError(f"config.data.source=python_calls reads no files; for config.data.path={path} use files")


def _open(source: str, path: str, field: str, validation_path: str, test_path: str,
          skip: Callable[[UserError], None], reads: str | None) -> sources.Source:
    """The source that the arguments name, of the kind that is wanted."""
    if (validation_path or test_path) and not (path and source in ("files", "python_docs")):
        raise UserError("config.data.validation_path and config.data.test_path go with files of your own: "
                        "set config.data.path= too")
    if source == "catalog":
        from lmlab.data import catalog  # brings an HTTP client along
        read = catalog.load(path)
    elif source == "tfds":
        read = sources.tfds(path, field=field, skip=skip)
    elif path:
        return sources.files(path, field=field, validation_path=validation_path, test_path=test_path, skip=skip,
                             reads=reads)
    else:
        read = embedded.python_calls() if source == "python_calls" else embedded.python_docs()
    if not reads and read.kind not in ("text", "pairs"):  # what reads text reads that of examples as well
        texts = formats.of_document(formats.find(read.kind).texts)
        pieces = lambda stream: lambda: (text for document in stream() for text in texts(document))
        return read._replace(kind="text", streams={name: pieces(stream) for name, stream in read.streams.items()})
    if read.kind != (reads or read.kind):
        raise UserError(f"{read.name} holds {_what(read.kind)}, and {_what(reads or 'text')} is what "
                        "config.objective.name reads; name other data with config.data.path=, or another objective")
    return read


def _deal(source: sources.Source, stream: str, validation: float, test: float, by_tail: bool, dedup: str,
          folds: int = 0, fold: int = 0, met: Counter | None = None) -> Iterator[tuple[str, str]]:
    """One pass over a stream as (split, text): "all" is shared out, the others are splits already."""
    key = same = str
    if source.kind == "pairs":  # the separator counts as a blank, and where it stands tells two pairs apart
        same = lambda pair: rows.joined(*pair.split(readers.SEPARATOR))
    elif source.kind != "text":
        module = formats.find(source.kind)
        key, same = formats.of_document(module.key), formats.of_document(module.same)
    texts = _valid(source.streams[stream](), Counter() if met is None else met)
    for text in cleaning.deduplicate(texts, dedup, same):
        if stream != "all":
            yield stream, text
        elif by_tail:
            yield from _tail(text, validation, test)
        else:
            yield _home(cleaning.fraction(key(text)), validation, test, folds, fold), text


def _valid(texts: Iterator[str], met: Counter) -> Iterator[str]:
    """Texts that UTF-8 can hold; `met` counts those "read" and those that had to be "mended"."""
    for text in texts:
        valid = cleaning.valid_unicode(text)
        met["read"] += 1
        met["mended"] += valid != text
        yield valid


def _home(place: float, validation: float, test: float, folds: int, fold: int) -> str:
    """The split of a document whose key falls at `place` in [0, 1)."""
    if validation <= place < validation + test:
        return "test"
    if not folds:
        return "validation" if place < validation else "train"
    rest = (place if place < validation else place - test) / (1 - test)  # in [0, 1), were it exact
    return "validation" if min(int(rest * folds), folds - 1) == fold else "train"


def _few(dealt: Iterator[tuple[str, str]], shots: int) -> Iterator[tuple[str, str]]:
    """What is dealt, of the training examples the first `shots` of each label; 0: all."""
    seen = Counter()
    for name, text in dealt:
        label = json.dumps(json.loads(text)["label"]) if shots and name == "train" else None
        seen[label] += 1
        if label is None or seen[label] <= shots:
            yield name, text


def _tail(text: str, validation: float, test: float) -> Iterator[tuple[str, str]]:
    """text cut after int(n (1 - validation - test)) characters for train, then validation, then test."""
    first, second = int(len(text) * (1 - validation - test)), int(len(text) * (1 - test))
    for split, part in zip(_SPLITS, (text[:first], text[first:second], text[second:])):
        if part and not part.isspace():
            yield split, part
