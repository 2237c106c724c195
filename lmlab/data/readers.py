"""Reading the user's text files, and saying in one line what is wrong with one that cannot be read."""

import csv
import glob
import gzip
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.utils.errors import UserError

SEPARATOR = "\x1f"  # between the source and the target of a pair, the ASCII unit separator
_TABLES = (".csv", ".tsv", ".jsonl")
_NO_TEXT = (".json", ".parquet", ".arrow", ".pdf", ".docx", ".zip", ".tar")  # text only after a conversion
_LONGEST_CELL = 2**31 - 1  # csv refuses cells over 128 kB unless told


class Parallel(NamedTuple):
    """Two plain text files whose lines belong together: line k of `target` goes with line k of `source`."""

    source: Path
    target: Path

    @property
    def name(self) -> str:
        """Both names, as they are written in a config."""
        return f"{self.source.name}+{self.target.name}"


class Damage:
    """What becomes of damaged records: up to a limit they are skipped and counted, the next one is refused.

    Attributes:
      seen: what was said of each record that was skipped; one that a second pass meets again counts once.
    """

    def __init__(self, limit: int):
        """limit: config.data.damaged."""
        self.limit, self.seen = limit, {}

    def __call__(self, error: UserError) -> None:
        """Skips the record that `error` tells of, or raises a UserError."""
        self.seen.setdefault(str(error))
        if len(self.seen) > self.limit:
            cure = "skips no more" if self.limit else "skips no such record, N would skip up to N"
            raise UserError(f"{error}; config.data.damaged={self.limit} {cure}") from error


def refuse(error: UserError) -> None:
    """Skips no record. Raises `error`."""
    raise error


def find(paths: str, also: tuple[str, ...] = ()) -> list[Path | Parallel]:
    """The files that comma-separated names and globs stand for, each once, sorted within a glob; "a.de+a.en" stands
    for two files of Parallel text. `also`: kinds of files that are no text, as in `kind`.

    Raises:
      UserError: if one matches nothing, or a file that holds no plain text by its name.
    """
    if "\0" in paths:
        raise UserError(f"{paths}: no such file; a NUL stands in its name")
    found: dict[Path | Parallel, None] = {}
    for pattern in [paths] if Path(paths).is_file() else paths.split(","):
        pattern = os.path.expanduser(pattern.strip())
        matches = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
        matches = [Path(match) for match in matches if Path(match).is_file()]
        if not matches and "+" in pattern:
            matches = [_parallel(pattern)]
        if not matches:
            if Path(pattern).is_dir():
                raise UserError(f"{pattern}: a folder, not a file; say {pattern}/*.txt")
            raise UserError(f"{pattern}: no such file; give a path or a glob of .txt, .csv, .tsv or .jsonl files")
        found |= dict.fromkeys(matches)
    for path in found:
        if isinstance(path, Path):
            kind(path, also)
    return list(found)


def _parallel(pattern: str) -> Parallel:
    """The two files of "source+target", the second in the folder of the first if it is not found otherwise; UserError
    if there are not two, or one is a table."""
    names = [Path(os.path.expanduser(name.strip())) for name in pattern.split("+")]
    if len(names) != 2:
        raise UserError(f"{pattern}: {len(names)} files; parallel text is two files, config.data.path=SOURCE+TARGET")
    source, target = names[0], names[1] if names[1].is_file() else names[0].parent / names[1]
    for path in (source, target):
        if not path.is_file():
            raise UserError(f"{path}: no such file; parallel text is two files, config.data.path=SOURCE+TARGET")
        if kind(path) != ".txt":
            raise UserError(f"{path}: a table in parallel text; give two plain text files, or one table and "
                            "config.data.field=SOURCE,TARGET")
    return Parallel(source, target)


def is_pairs(path: Path | Parallel, field: str) -> bool:
    """Whether the documents of a file are pairs: parallel text, or two fields of a table."""
    return isinstance(path, Parallel) or kind(path) != ".txt" and len(fields(field)) == 2


def pair(source: str, target: str) -> str:
    """The document that a source and a target make; "" where one of them is blank."""
    parts = [text.replace(SEPARATOR, " ").strip() for text in (source, target)]
    return SEPARATOR.join(parts) if all(parts) else ""


def kind(path: Path, also: tuple[str, ...] = ()) -> str:
    """".csv", ".tsv", ".jsonl", one of `also` (".json"), or ".txt" for any other name (.md, .py, ...); UserError for a
    file that is no text."""
    suffix = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
    if suffix in _NO_TEXT and suffix not in also:
        raise UserError(f"{path}: {suffix} is not read; convert it to .txt, .csv, .tsv or .jsonl (or .gz of one)")
    return suffix if suffix in _TABLES + also else ".txt"


def read(path: Path | Parallel, field: str, skip: Callable[[UserError], None] = refuse) -> Iterator[str]:
    """The documents of one file, one at a time, blank ones skipped: the whole of a .txt, each row of a table, each line
    of parallel text.

    Args:
      field: of a table, the name of the column or field; two names, comma separated, make pairs. Numbers name the
        columns, from 0, of a .csv or .tsv without a header.
      skip: called with what is wrong with a damaged record, to raise it or to go on without the record: a line of text
        that is not UTF-8 or holds a NUL (of parallel text: the pair of lines), a row without text in the field.
    Raises:
      UserError: for an empty, binary, cut or unreadable file, a table whose header or quotes are damaged, parallel text
        of two lengths; and what `skip` raises.
    """
    if isinstance(path, Parallel):
        documents = _aligned(path, skip)
    elif kind(path) == ".txt":
        documents = ("".join(text for _, text in lines(one, skip)) for one in [path])
    else:
        names = fields(field)
        rows = _texts(path, names, skip) if kind(path) == ".jsonl" else cells(path, names, skip)
        documents = (pair(row[names[0]], row[names[1]]) if len(names) == 2 else row[names[0]] for _, row in rows)
    yield from filled(path, (text for text in documents if text and not text.isspace()))


def filled(path: Path | Parallel, documents: Iterable) -> Iterator:
    """All that is read from a file; UserError where that is nothing, or one document of it does not fit in memory."""
    empty = True
    try:
        for document in documents:
            empty = False
            yield document
    except MemoryError:  # a line, or a .txt, of gigabytes; or what a small .gz unpacks to
        raise UserError(f"{path}: one document of it is larger than memory; split it, or give one a line") from None
    if empty:
        name = path.name if isinstance(path, Parallel) else path
        raise UserError(f"{name}: the file is empty; it must hold some text")


def fields(field: str) -> list[str]:
    """The one or two fields that config.data.field names."""
    names = [name.strip() for name in field.split(",")]
    if len(names) > 2:
        raise UserError(f"config.data.field={field}: {len(names)} fields; name one, or two (source,target) for pairs")
    return names


def _lines(path: Path) -> Iterator[tuple[str, UserError | None]]:
    """The lines of a UTF-8 file with their ends, each with what is wrong with it; a byte order mark is dropped."""
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise UserError(f"{path}: UTF-16 (by its byte order mark); convert it to UTF-8")
                fault = None
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    text = line.decode("utf-8", "replace")
                    fault = UserError(f"{path}, line {number}: not UTF-8 (byte 0x{line[error.start]:02x}), so a binary "
                                      "file or another encoding; convert it to UTF-8")
                if b"\0" in line:
                    fault = UserError(f"{path}, line {number}: a NUL byte, so this is a binary file; "
                                      "give plain text in UTF-8")
                yield text, fault
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read after line {number} ({error}); check the file and its permissions"
                        ) from error


def lines(path: Path, skip: Callable[[UserError], None] = refuse) -> Iterator[tuple[str, str]]:
    """(where, line) of the lines that nothing is wrong with; where is "FILE, line N"."""
    for number, (line, fault) in enumerate(_lines(path), 1):
        if fault:
            skip(fault)
        else:
            yield f"{path}, line {number}", line


def _aligned(paths: Parallel, skip) -> Iterator[str]:
    """A pair of each two lines that belong together."""
    lines = itertools.zip_longest(_lines(paths.source), _lines(paths.target))
    for number, (source, target) in enumerate(lines, 1):
        if source is None or target is None:
            short = paths.source if source is None else paths.target
            raise UserError(f"{short}: {number - 1} lines, and the other file of {paths.name} has more; give files "
                            "whose lines belong together")
        if fault := source[1] or target[1]:
            skip(fault)
        else:
            yield pair(source[0], target[0])


def columns(path: Path) -> list[str]:
    """The cells of the first row of a .csv or .tsv file; none of a file that `cells` refuses."""
    try:
        return next(filter(None, _table(path, (line for line, _ in _lines(path)))), [])
    except csv.Error:
        return []


def _table(path: Path, lines: Iterable[str]):
    """A csv reader; of a .tsv file: tabs between cells, no quotes."""
    csv.field_size_limit(_LONGEST_CELL)
    form = dict(delimiter="\t", quoting=csv.QUOTE_NONE) if kind(path) == ".tsv" else {}
    return csv.reader(lines, strict=True, **form)


def cells(path: Path, fields: list[str],
          skip: Callable[[UserError], None] = refuse) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, {column: cell}) of the rows of a .csv or .tsv file.

    Args:
      fields: the columns that are wanted; all numbers: of a file without a header. skip: as in `read`.
    """
    faults = []  # of the lines of the row in hand
    rows = _table(path, (faults.append(fault) or line if fault else line for line, fault in _lines(path)))
    try:
        header = next(filter(None, rows), [])  # blank lines are no rows
        bare = all(field.isdecimal() for field in fields) and not set(fields) <= set(header)  # no header row
        if faults and not bare:
            raise faults[0]
        names = [str(i) for i in range(len(header))] if bare else header
        for field in fields:
            if names and field not in names:
                raise UserError(f"{path}, line 1: no column {field!r}; it has {some(names)} "
                                "(choose one with config.data.field=)")
        places = {name: names.index(name) for name in fields} if names else {}
        for row in itertools.chain([header] if bare else [], rows):
            short = next((field for field, place in places.items() if place >= len(row)), None)
            if row and short is not None:
                faults.append(UserError(f"{path}, line {rows.line_num}: the row ends before column {short!r}; "
                                        "complete it or remove it"))
            if faults:
                skip(faults[0])
                faults.clear()
            elif row:
                yield f"{path}, line {rows.line_num}", {name: row[place] for name, place in places.items()}
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not csv ({error}); quote cells that hold quotes or "
                        "line breaks") from error


def values(path: Path, skip: Callable[[UserError], None] = refuse) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line of a jsonl file."""
    for where, line in lines(path, skip):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            skip(UserError(f"{where}: not JSON ({error}); give one object a line"))
            continue
        yield where, value


def _texts(path: Path, fields: list[str], skip) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, object) of the lines of a jsonl file that have text in the fields."""
    for where, row in values(path, skip):
        field = next((name for name in fields if not isinstance(row, dict) or not isinstance(row.get(name), str)), None)
        if field is None:
            yield where, row
        else:
            skip(UserError(f"{where}: {missing(row, field)}"))


def missing(row: Any, field: str) -> str:
    """What is wrong with a value that has no text in a field, and what it has instead."""
    has = f"a {type(row).__name__}" if not isinstance(row, dict) else (
        f"{type(row[field]).__name__} there" if field in row else some(row))
    return f"no text in field {field!r}; it has {has} (choose one with config.data.field=)"


def some(names: Iterable[str]) -> str:
    """The first of the names, for a line that has to end."""
    first = [name[:40] for name in itertools.islice(names, 9)]
    return ", ".join(first[:8] + ["..."] * (len(first) > 8))
