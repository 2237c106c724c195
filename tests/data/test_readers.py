"""The user's files: what is read from them, and the one line that says what is wrong."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from lmlab.data import readers
from lmlab.utils.errors import UserError


def write(path, content):
    """Bytes or text to a file, compressed if its name says so."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
def test_reads_each_kind_whole_and_exactly(tmp_path, end):
    text = write(tmp_path / f"a.txt{end}", "\ufeffone\r\n\ttwo  \n中文")
    table = write(tmp_path / f"a.csv{end}", 'id,body\n1,"a, ""b""\nc"\n2, \n3,d\n')
    rows = '{"body": "x\\ny"}\n\n{"body": "", "n": 1}\n{"body": "\\u4e2d"}'
    lines = write(tmp_path / f"a.jsonl{end}", rows)
    assert list(readers.read(text, "")) == ["one\r\n\ttwo  \n中文"]
    assert list(readers.read(table, "body")) == ['a, "b"\nc', "d"]
    assert list(readers.read(lines, "body")) == ["x\ny", "中"]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_two_fields_of_a_table_are_a_pair(tmp_path, end):
    pairs = ["ein Hund\x1fa dog", "zwei, \"drei\"\x1ftwo three"]
    table = write(tmp_path / f"a.csv{end}", 'id,en,de\n1,a dog,ein Hund\n2,blank,\n3,two\x1fthree,"zwei, ""drei"""\n')
    tabs = write(tmp_path / f"a.tsv{end}", 'en\tde\na dog\tein Hund\ntwo three\tzwei, "drei"\n')
    lines = write(tmp_path / f"a.jsonl{end}", '{"de": "ein Hund", "en": "a dog"}\n{"de": "zwei, \\"drei\\"", '
                  '"en": " two three\\n"}')
    for path in (table, tabs, lines):
        assert list(readers.read(path, "de,en")) == list(readers.read(path, "de, en")) == pairs
    bare = write(tmp_path / f"b.tsv{end}", "a dog\tein Hund\t1\ntwo three\tzwei, \"drei\"\t2\n")
    assert list(readers.read(bare, "1,0")) == pairs and list(readers.read(bare, "2")) == ["1", "2"]
    named = write(tmp_path / f"c.csv{end}", "1,0\nx,y\n")
    assert list(readers.read(named, "0,1")) == ["y\x1fx"]  # a header that has these names
    late = write(tmp_path / f"d.csv{end}", "\n\na,b\n\nx,y\n")
    assert list(readers.read(late, "b")) == ["y"]  # blank lines are no rows, nor a header


def test_parallel_files_are_pairs_line_by_line(tmp_path):
    german = write(tmp_path / "train.de.gz", "ein Hund\n\nzwei\r\n drei")
    english = write(tmp_path / "train.en", "a dog\nnothing\ntwo\nthree\n")
    for name in (f"{german}+{english}", f"{german}+train.en", f"{german} + {english}"):
        (found,) = readers.find(name)
        assert found == readers.Parallel(german, english) and readers.is_pairs(found, "text")
        assert list(readers.read(found, "text")) == ["ein Hund\x1fa dog", "zwei\x1ftwo", "drei\x1fthree"]
    odd = write(tmp_path / "c++\u3000\xa0.txt", "x")
    assert readers.find(str(odd)) == readers.find(f"{tmp_path}/c++*") == [odd]
    assert not readers.is_pairs(odd, "de,en") and readers.is_pairs(tmp_path / "a.csv", "de,en")


def test_parallel_names_that_cannot_be_are_named(tmp_path):
    one, table = write(tmp_path / "a.txt", "x"), write(tmp_path / "a.csv", "x")
    for name, message in ((f"{one}+none.txt", "none.txt: no such file; parallel text is two files"),
                          (f"{one}+{one}+{one}", "3 files; parallel text is two files"),
                          (f"{one}+{table}", "a table in parallel text")):
        with pytest.raises(UserError, match=message):
            readers.find(name)
    with pytest.raises(UserError, match="config.data.field=a,b,c: 3 fields"):
        list(readers.read(table, "a,b,c"))


BAD = {
    "empty.txt": ("", "empty"),
    "blank.txt": (" \n\n", "empty"),
    "binary.txt": (b"\x7fELF\x00\x01", "line 1: a NUL byte"),
    "latin.txt": ("fine\ncaf\xe9".encode("latin-1"), "line 2: not UTF-8 (byte 0xe9)"),
    "damaged.txt.gz": (b"no gzip", "cannot be read"),
    "column.tsv": ("id\tbody\n1\ta\n", "no column 'text'; it has id, body"),
    "short.tsv": ("id\ttext\n1\n", "line 2: the row ends before column 'text'"),
    "column.csv": ("id,body\n1,a\n", "no column 'text'; it has id, body"),
    "header.csv": ("text\n", "empty"),
    "short.csv": ("id,text\n1,a\n2\n", "line 3: the row ends before column 'text'"),
    "field.jsonl": ('{"text": "a"}\n{"body": "b"}\n', "line 2: no text in field 'text'; it has body"),
    "number.jsonl": ('{"text": 3}\n', "line 1: no text in field 'text'"),
    "null.jsonl": ('{"text": null}\n', "line 1: no text in field 'text'; it has NoneType there"),
    "deep.jsonl": ('{"text": "a"}\n' + "[" * 100_000, "line 2: not JSON"),
    "digits.jsonl": ("9" * 5000, "line 1: not JSON"),
    "wide.jsonl": (json.dumps(dict.fromkeys(map(str, range(99_999)))), "it has 0, 1, 2, 3, 4, 5, 6, 7, ... (choose"),
    "bytes.jsonl": (b'{"text": "caf\xe9"}', "line 1: not UTF-8 (byte 0xe9)"),
    "half.txt": (b"a\n\xed\xa0\x80", "line 2: not UTF-8 (byte 0xed)"),
    "utf16.txt": ("two".encode("utf-16"), "UTF-16 (by its byte order mark); convert it to UTF-8"),
    "utf16.csv": ("text\ntwo".encode("utf-16-be"), "line 1: a NUL byte"),
    "utf32.txt": ("two".encode("utf-32"), "UTF-16 (by its byte order mark)"),
    "quote.csv": ('text\n"open\n' + "more\n" * 9, "line 11: not csv (unexpected end of data)"),
    "old_mac.csv": ("text\ra\rb\r", "line 1: not csv"),
    "list.jsonl": ("[1]\n", "line 1: no text in field 'text'; it has a list"),
    "broken.jsonl": ('{"text": "a"}\n\n{"text": \n', "line 3: not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_line_and_what_would_do(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(UserError) as error:
        list(readers.read(path, "text"))
    said = str(error.value)
    assert message in said and str(path) in said and "\n" not in said and ";" in said


def test_a_cut_gz_is_an_error_not_a_shorter_text(tmp_path):
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(gzip.compress(b"some text, " * 1000)[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        list(readers.read(path, "text"))


DAMAGED = {  # what is read where damaged records are left out, and how many there are
    "a.txt": (b"one\ncaf\xe9\ntwo\0\nthree", ["one\nthree"], 2),
    "a.jsonl": (b'{"text": "one"}\n{"text": 3}\n{"text": "\xff"}\n{"te\n\n{"text": "two"}', ["one", "two"], 3),
    "a.csv": (b'id,text\n1,one\n2,"a\n\xff\nb"\n3\n4,"a\0"\n5,"two\nlines"\n', ["one", "two\nlines"], 3),
    "a.tsv": (b"id\ttext\n1\tone\n\xe9\ttwo\n3\tthree\n", ["one", "three"], 1),
    "a.de+a.en": (b"one\n\xe9\nthree\n", ["one\x1f0", "three\x1f2"], 1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_records_are_left_out_up_to_a_limit(tmp_path, name):
    content, expected, damaged = DAMAGED[name]
    (tmp_path / name.split("+")[0]).write_bytes(content)
    (tmp_path / "a.en").write_text("0\n1\n2\n")
    (path,) = readers.find(f"{tmp_path}/{name}")
    skip = readers.Damage(damaged)
    for _ in range(2):  # a second pass meets the same ones
        assert list(readers.read(path, "text", skip)) == expected
    assert len(skip.seen) == damaged and all("line" in said for said in skip.seen)
    for limit in range(damaged):
        with pytest.raises(UserError, match=f"line .*; config.data.damaged={limit} skips no"):
            list(readers.read(path, "text", readers.Damage(limit)))


@pytest.mark.parametrize("name, content", [("a.csv", b"id,te\xfft\n1,a\n"), ("a.txt", b"\xff\xfea\0"),
                                           ("a.csv", b'text\n"a'),
                                           ("a.txt.gz", gzip.compress(b"ab" * 999, mtime=0)[:-9])])
def test_what_is_no_record_is_not_skipped(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="not UTF-8|UTF-16|not csv|cannot be read"):
        list(readers.read(tmp_path / name, "text", readers.Damage(10**9)))


def test_files_that_cannot_be_opened_are_named(tmp_path):
    """As another user than root, whom nothing is forbidden."""
    path = write(tmp_path / "a.txt", "x")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if os.stat(folder).st_uid == os.getuid() and folder != tmp_path.parents[-1]:
            folder.chmod(folder.stat().st_mode | 0o055)
    program = ("import os, sys; sys.path[:0] = sys.argv[2:]; from lmlab.data import readers; from pathlib import Path\n"
               "if not os.getuid(): os.setuid(65534)\n"
               "try: list(readers.read(Path(sys.argv[1]), ''))\n"
               "except readers.UserError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", program, path, *sys.path], capture_output=True, text=True)
    assert "a.txt: cannot be read after line 0 ([Errno 13] Permission denied" in done.stdout, done.stderr


def test_globs_commas_and_repeats(tmp_path):
    for name in ("b.txt", "a.txt", "c.csv", "odd, name.txt"):
        write(tmp_path / name, "x")
    names = [path.name for path in readers.find(f"{tmp_path}/c.csv, {tmp_path}/[ab].txt,{tmp_path}/a.txt")]
    assert names == ["c.csv", "a.txt", "b.txt"]
    assert [path.name for path in readers.find(f"{tmp_path}/odd, name.txt")] == ["odd, name.txt"]


def test_paths_that_match_nothing_or_no_text(tmp_path):
    for name in (f"{tmp_path}/*.txt", f"{tmp_path}/a\0b", "~nobody_of_this_name/x", f"{tmp_path}/[", "a\nb", "", "+"):
        with pytest.raises(UserError, match="no such file|a folder"):
            readers.find(name)
    with pytest.raises(UserError, match=r"a folder.*/\*\.txt"):
        readers.find(str(tmp_path))
    with pytest.raises(UserError, match=r"a\.pdf: \.pdf is not read; convert it"):
        readers.find(str(write(tmp_path / "a.pdf", "x")))
    assert readers.kind(write(tmp_path / "notes.md", "x")) == readers.kind(tmp_path / "a.md.gz") == ".txt"
