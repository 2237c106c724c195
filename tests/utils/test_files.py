"""Files whole or absent; hashes against published values."""

import json
import os
import stat

import pytest

from lmlab.utils import files


def test_hashes_are_the_published_ones(tmp_path):
    # FIPS 180-4's own example
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256("abc") == files.sha256(b"abc") == files.sha256_file(tmp_path / "abc") == abc


def test_writes_replace_whole_files_and_make_folders(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_json(path, {"z": 1, "a": "中"})
    assert json.loads(path.read_text("utf-8")) == {"z": 1, "a": "中"} and "中" in path.read_text("utf-8")
    files.write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    files.write_bytes(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff" and [p.name for p in path.parent.iterdir()] == ["b.json"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_while_writing_names_the_file_and_leaves_nothing_for_the_end(tmp_path):
    """/dev/full: a device that is always full."""
    file = files.Appender("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        file.write("line\n")
    file.close()
    file = files.Appender(tmp_path / "a")
    file.write("é\n")
    file.write(b"\0")
    assert (tmp_path / "a").read_bytes() == "é\n\0".encode()
    file.close()


def test_names_reach_the_disk_as_well(tmp_path, monkeypatch):
    """The content before its name, the name before the call returns: the order in which things are synced."""
    done = []
    sync = os.fsync
    name = lambda n: os.path.basename(os.readlink(f"/proc/self/fd/{n}"))
    monkeypatch.setattr(os, "fsync", lambda n: (done.append(name(n)), sync(n)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    files.write_text(tmp_path / "folder" / "a.txt", "1")
    assert done[0].startswith(".a.txt.") and done[1:] == ["replace", "folder"]
    done.clear()
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append("rename"), rename(a, b)))
    with files.new_folder(tmp_path / "store") as temporary:
        (temporary / "part").mkdir()
        (temporary / "part" / "b").write_text("1")
    assert {"part", "b", temporary.name} <= set(done[:done.index("rename")])
    assert done[done.index("rename"):] == ["rename", tmp_path.name]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "x" / "store"
    with pytest.raises(RuntimeError):
        with files.new_folder(target) as temporary:
            (temporary / "part").write_text("1")
            raise RuntimeError
    assert not list((tmp_path / "x").iterdir())
    with files.new_folder(target) as slow:
        (slow / "who").write_text("slow")
        with files.new_folder(target) as quick:
            (quick / "who").write_text("quick")
            assert not target.exists()
    assert (target / "who").read_text() == "quick" and [p.name for p in target.parent.iterdir()] == ["store"]


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "own"))
    assert files.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("LMLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / "lmlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / ".cache" / "lmlab"


def test_what_may_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2 ** 40)
    for path, fault in ((tmp_path / "pipe", "not a regular file"), ("/dev/zero", "not a regular file"),
                        (tmp_path / "huge", "1099511627776 bytes, more than")):
        with pytest.raises(OSError, match=fault):
            files.read_bytes(path)
    (tmp_path / "small").write_bytes(b"\0\n")
    assert files.read_bytes(tmp_path / "small") == b"\0\n"
