"""JSON files that can tell whether they are as they were written: their first key, "sha256", is the digest of the rest.

The digest is of the values (and of the file's name), so that it stands in the file itself and is written with it at
once. Who edits such a file on purpose removes that line.
"""

import json
from pathlib import Path

from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, sha256, write_text

KEY = "sha256"


def write(path, value):
    """Writes a JSON object, atomically and with its digest; a float that is not finite stays NaN or Infinity."""
    write_text(path, json.dumps({KEY: _digest(path, value), **value}, indent=2) + "\n")


def read(path) -> dict:
    """The object that `write` wrote, without the digest; an object that has no digest is taken as it is.

    Raises:
      UserError: where it cannot be read, is no JSON object, or is not as it was written. FileNotFoundError.
    """
    try:
        value = json.loads(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; restore it from a copy") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it is no JSON object; restore it from a copy")
    if KEY in value and value.pop(KEY) != _digest(path, value):
        raise UserError(f"{path} is not as it was written; restore it from a copy, or, if you edited it on "
                        f"purpose, remove its line {KEY!r}")
    return value


def _digest(path, value):
    """Of the values, whatever the order and the spaces that they are written with."""
    return sha256(f"{Path(path).name} {json.dumps(value, sort_keys=True)}")
