"""Files that are whole or absent: atomic writes, hashes, and the user's cache folder."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmlab.utils.errors import UserError

_LARGEST = 2 ** 28  # bytes


def cache_dir() -> Path:
    """The folder for all that can be made again: $LMLAB_CACHE, else lmlab in the user's cache folder."""
    if os.environ.get("LMLAB_CACHE"):
        return Path(os.environ["LMLAB_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lmlab"


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part; missing folders are made.

    The content reaches the disk before the name does, and the name before this returns.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with _named(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; a run is to be read by others
        os.replace(name, path)
        sync(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Gives the errors of the system the name of the file, which those of writing lack."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file that is to be held whole: an OSError where it is a pipe or a device, which might never end,
    or larger than any such file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if status.st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {_LARGEST}", str(path))
    return Path(path).read_bytes()


class Appender:
    """A file that grows by whole pieces. Each is written at once: an error comes with the piece it befell, names the
    file, and leaves nothing for `close` to fail at."""

    def __init__(self, path: str | Path):
        self._path, self._file = path, open(path, "ab", buffering=0)

    def write(self, piece: str | bytes) -> None:
        """Adds text (as UTF-8) or bytes. An OSError where not all of it found room."""
        content = piece.encode("utf-8") if isinstance(piece, str) else piece
        with _named(self._path):
            if self._file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def sync(path: str | Path) -> None:
    """Waits until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot
            raise
    finally:
        os.close(handle)


def sync_tree(folder: str | Path) -> None:
    """`sync` of every file and folder below `folder`, of itself, and of its own name."""
    for path in [*Path(folder).rglob("*"), Path(folder), Path(folder).parent]:
        sync(path)


def write_text(path: str | Path, text: str) -> None:
    """write_bytes of text as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Writes value as indented JSON, atomically; keys keep their order, non-ASCII text stays readable."""
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """value as JSON that every reader takes: a float that is not finite becomes null."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """value with None for every NaN or infinity in it."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def new_folder(target: str | Path) -> Iterator[Path]:
    """A temporary sibling of target, renamed to target when the block ends well and removed when it does not.

    Two processes may fill the same target at once: the first to finish wins, the other's copy is dropped.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        os.chmod(temporary, 0o777 & ~_umask())
        yield temporary
        sync_tree(temporary)
        try:
            os.rename(temporary, target)
            sync(target.parent)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def only_one(folder: str | Path) -> Iterator[None]:
    """Holds a folder for this process; a UserError where another one, still alive, holds it."""
    import fcntl  # not on Windows

    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        for patience in (0.2, 0):  # `in_use` holds it for a moment
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(patience)
        else:
            raise UserError(f"{folder} is in use by another process; wait for it, stop it, or use another folder")
        yield


def in_use(folder: str | Path) -> bool:
    """Whether a process holds a folder by `only_one`."""
    import fcntl  # not on Windows

    try:
        with open(Path(folder) / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def sha256(content: str | bytes) -> str:
    """The SHA-256 of text (as UTF-8) or bytes, in hexadecimal."""
    return hashlib.sha256(content.encode("utf-8") if isinstance(content, str) else content).hexdigest()


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read piece by piece."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """The process's file mode mask, which the system only tells by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
