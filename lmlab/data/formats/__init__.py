"""Formats of labelled examples, a file for each kind: how they are read, and what makes two of them the same.

A format is found by the name of its file. It defines FIELDS (the columns or fields it looks for), `read(path, field,
skip)` (the examples of a file, as plain JSON values), `key(example)` (two examples with the same key never stand in two
splits), `same(example)` (of two for which this is equal, only the first is kept) and `texts(example)` (what a tokenizer
learns from).
"""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lmlab.data import readers
from lmlab.utils import modules
from lmlab.utils.errors import UserError


def find(name: str):
    """The module `lmlab.data.formats.NAME`; a UserError names the nearest where there is none."""
    return modules.find(sys.modules[__name__], name, "FIELDS", f"{name!r} is no kind of examples")


def documents(name: str, path: Path | readers.Parallel, field: str,
              skip: Callable[[UserError], None] = readers.refuse) -> Iterator[str]:
    """The examples of one file, each as the text of a document.

    Args:
      field: the names that the file has for the format's FIELDS; "text", the default of a config, is FIELDS. skip: as
        in `readers.read`: called with what is wrong with one example.
    Raises:
      UserError: for a file that is empty, or that cannot be read as such examples at all.
    """
    if isinstance(path, readers.Parallel):
        raise UserError(f"{path.name}: two files joined by + are pairs of text, and not {name}; give one file")
    module = find(name)
    examples = module.read(path, module.FIELDS if field == "text" else field, skip)
    yield from readers.filled(path, map(write, examples))


def write(example: dict) -> str:
    """An example as one line of JSON, the same for equal examples."""
    return json.dumps(example, ensure_ascii=False, sort_keys=True)


def of_document(function: Callable[[dict], str]) -> Callable[[str], str]:
    """A function of an example as one of the text that `write` made of it."""
    return functools.wraps(function)(lambda document: function(json.loads(document)))
