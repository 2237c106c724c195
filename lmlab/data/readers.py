"""Reading the user's text files, and saying in one line what is wrong with one that cannot be read."""

import csv
import glob
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from lmlab.utils.errors import UserError

_TABLES = (".csv", ".jsonl")
_NO_TEXT = (".json", ".tsv", ".parquet", ".arrow", ".pdf", ".docx", ".zip", ".tar")  # text only after a conversion
_LONGEST_CELL = 2**31 - 1  # csv refuses cells over 128 kB unless told


def find(paths: str) -> list[Path]:
    """The files that comma-separated names and globs stand for, each once, sorted within a glob.

    Raises:
      UserError: if one matches nothing, or a file that holds no plain text by its name.
    """
    found: dict[Path, None] = {}
    for pattern in [paths] if Path(paths).is_file() else paths.split(","):
        pattern = str(Path(pattern.strip()).expanduser())
        matches = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
        matches = [Path(match) for match in matches if Path(match).is_file()]
        if not matches:
            if Path(pattern).is_dir():
                raise UserError(f"{pattern}: a folder, not a file; say {pattern}/*.txt")
            raise UserError(f"{pattern}: no such file; give a path or a glob of .txt, .csv or .jsonl files")
        found |= dict.fromkeys(matches)
    for path in found:
        kind(path)
    return list(found)


def kind(path: Path) -> str:
    """".csv", ".jsonl", or ".txt" for any other name (.md, .py, ...); UserError for one that says it is no text."""
    suffix = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
    if suffix in _NO_TEXT:
        raise UserError(f"{path}: {suffix} is not read; convert it to .txt, .csv or .jsonl (or .gz of one)")
    return suffix if suffix in _TABLES else ".txt"


def read(path: Path, field: str) -> Iterator[str]:
    """The documents of one file, one at a time, blank ones skipped: the whole of a .txt, each row of the
    others.

    Raises:
      UserError: for an empty, binary, damaged or unreadable file, a row that is no JSON object, a missing
    field. """
    documents = {".txt": _whole, ".csv": _csv_rows, ".jsonl": _json_rows}[kind(path)]
    empty = True
    for text in documents(path, field):
        if text and not text.isspace():
            empty = False
            yield text
    if empty:
        raise UserError(f"{path}: the file is empty; it must hold some text")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, each checked to be text; a byte order mark is dropped."""
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if b"\0" in line:
                    raise UserError(f"{path}, line {number}: a NUL byte, so this is a binary file; "
                                    "give plain text in UTF-8")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(f"{path}, line {number}: not UTF-8 (byte 0x{byte:02x}), so a binary file or another "
                        "encoding; convert it to UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); check the file and its permissions") from error


def _whole(path: Path, field: str) -> Iterator[str]:
    """A plain text file is one document; field has no meaning for it."""
    del field
    yield "".join(_lines(path))


def _csv_rows(path: Path, field: str) -> Iterator[str]:
    """The named column of a csv file with a header row."""
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.DictReader(_lines(path), strict=True)
    try:
        if rows.fieldnames and field not in rows.fieldnames:
            raise UserError(f"{path}, line 1: no column {field!r}; it has {', '.join(rows.fieldnames)} "
                            "(choose one with config.data.field=)")
        for row in rows:
            if row[field] is None:
                raise UserError(f"{path}, line {rows.line_num}: the row ends before column {field!r}; "
                                "complete it or remove it")
            yield row[field]
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not csv ({error}); quote cells that hold quotes or "
                        "line breaks") from error


def _json_rows(path: Path, field: str) -> Iterator[str]:
    """The named field of each line of a jsonl file."""
    for number, line in enumerate(_lines(path), 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}); give one object a line") from error
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            has = ", ".join(row) if isinstance(row, dict) else f"a {type(row).__name__}"
            raise UserError(f"{path}, line {number}: no text in field {field!r}; it has {has} "
                            "(choose one with config.data.field=)")
        yield row[field]
