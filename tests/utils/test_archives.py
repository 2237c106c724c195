"""The pinned archive: what a changed one does, what a damaged one does, what no network does."""

import zipfile

import pytest

from lmlab.utils import archives
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256


def test_another_archive_is_refused_and_a_damaged_one_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    good = b"what was pinned"
    archive = archives.Archive("tiny", "tiny-1.tar.gz", sha256(good))
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(good + b"x"))
    with pytest.raises(UserError, match="not .* as pinned"):
        archives.fetch(archive)
    assert not list(cache_dir().rglob("*.gz"))
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(good))
    path = archives.fetch(archive)
    path.write_bytes(good[:-1])
    assert archives.fetch(archive).read_bytes() == good
    monkeypatch.setattr(archives, "_download", None)  # a whole one is not fetched again
    assert archives.fetch(archive) == path


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="tiny-1.tar.gz could not be fetched .*; connect") as error:
        archives.fetch(archives.Archive("tiny", "tiny-1.tar.gz", ""))
    assert "\n" not in str(error.value)


def test_a_damaged_archive_and_one_that_unpacks_to_gigabytes_are_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="a.zip: damaged, or no archive of this kind .BadZipFile"):
        with archives.unpacking(tmp_path / "a.zip"):
            zipfile.ZipFile(tmp_path / "a.zip")
    archives.check_size(tmp_path, "small", 2 ** 30)
    with pytest.raises(UserError, match="'large' unpacks to 1073741825 bytes"):
        archives.check_size(tmp_path, "large", 2 ** 30 + 1)
