"""What the formats share: the rows of tables and JSON files, each with its place, and the checks of their values."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lmlab.data import readers
from lmlab.utils.errors import UserError

TABLES, JSON = (".csv", ".tsv"), (".jsonl", ".json")
_LARGEST = 1e308  # a number beyond it is infinite as a float


def names(field: str, usual: str, *counts: int) -> list[str]:
    """The fields that config.data.field names; UserError where there are not as many as one of `counts`."""
    found = [name.strip() for name in field.split(",")]
    if len(found) not in counts or not all(found):
        raise UserError(f"config.data.field={field}: {len(found)} names; give {' or '.join(map(str, counts))}, "
                        f"as in {usual}")
    return found


def is_table(path: Path) -> bool:
    """Whether a file is a .csv or .tsv, by its name."""
    return readers.kind(path, (".json",)) in TABLES


def rows(path: Path, kinds: tuple[str, ...], columns: list[str],
         skip: Callable[[UserError], None]) -> Iterator[tuple[str, Any]]:
    """(where, row) of a file: a dict of cells for a row of a table, any JSON value for a line of a .jsonl or an item of
    the list in a .json.

    Args:
      kinds: of TABLES and JSON, those that may be. columns: those that are wanted of a table.
    """
    kind = readers.kind(path, (".json",))
    if kind not in kinds:
        raise UserError(f"{path}: examples of this kind are not read from such a file; give {', '.join(kinds)} "
                        "(or .gz of one)")
    if kind in TABLES:
        yield from readers.cells(path, columns, skip)
    elif kind == ".jsonl":
        yield from readers.values(path, skip)
    else:
        for number, value in enumerate(items(document(path), f"{path}")):
            yield f"{path}, [{number}]", value


def document(path: Path) -> Any:
    """The value that a .json file holds; a line of it that is no text is a UserError."""
    try:
        return json.loads("".join(line for _, line in readers.lines(path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not JSON ({error}); a file with one object a line is to be named .jsonl") from error


def made(rows: Iterable[tuple[str, Any]], make: Callable[[Any], dict],
         skip: Callable[[UserError], None]) -> Iterator[dict]:
    """The example that `make` makes of each row; what it raises is told with the row's place."""
    for where, row in rows:
        try:
            example = make(row)
        except UserError as error:
            skip(UserError(f"{where}: {error}"))
            continue
        yield example


def text(row: Any, field: str) -> str:
    """The text in a field, as it is; UserError where there is none, or only blanks."""
    if not isinstance(row, dict) or not isinstance(row.get(field), str):
        raise UserError(readers.missing(row, field))
    if not row[field].strip():
        raise UserError(f"the {field} is empty; fill it or remove the example")
    return row[field]


def joined(*parts: str) -> str:
    """Texts as one, for keys: a space or a separator would make the same of "a b", "c" and "a", "b c"."""
    return " \0 ".join(parts)


def items(value: Any, what: str) -> list:
    """value, if it is a list."""
    if not isinstance(value, list):
        raise UserError(f"{what} holds a {type(value).__name__} and no list; give a list")
    return value


def whole(value: Any, what: str) -> int:
    """value, if it is a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{what} is a {type(value).__name__}; give a whole number")
    return value


def finite(value: Any, what: str) -> int | float:
    """value, if it is a number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST:
        raise UserError(f"{what} is no finite number; give one")
    return value


def spans(row: Any, field: str, length: int) -> list[dict]:
    """The {"start", "end", "label"} of a field, by their start, each within a text of `length` characters."""
    found = []
    for number, span in enumerate(items(row.get(field), f"{field}")):
        what = f"{field}[{number}]"
        if not isinstance(span, dict):
            raise UserError(f"{what} is a {type(span).__name__}; give an object of start, end and label")
        start, end = (whole(span.get(name), f"{what}.{name}") for name in ("start", "end"))
        if not 0 <= start < end <= length:
            raise UserError(f"{what} is {start} to {end} of a text of {length} characters; give offsets in it, the end "
                            "after the last character")
        found.append({"start": start, "end": end, "label": text(span, "label").strip()})
    return found
