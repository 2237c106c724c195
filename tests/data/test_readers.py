"""The user's files: what is read from them, and the one line that says what is wrong."""

import gzip

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
    odd = write(tmp_path / "c++.txt", "x")
    assert readers.find(str(odd)) == readers.find(f"{tmp_path}/c++*") == [odd]
    assert not readers.is_pairs(odd, "de,en") and readers.is_pairs(tmp_path / "a.csv", "de,en")


@pytest.mark.parametrize("second, message", [
    ("one\ntwo\n", "b.txt: 2 lines, and the other file of a.txt\\+b.txt has more"),
    ("1\n2\n3\n4\n", "a.txt: 3 lines, and the other"), ("\n\n\n", "a.txt\\+b.txt: the file is empty")])
def test_parallel_files_that_do_not_fit_are_named(tmp_path, second, message):
    write(tmp_path / "b.txt", second)
    (found,) = readers.find(f"{write(tmp_path / 'a.txt', 'x' + chr(10) + 'y' + chr(10) + 'z')}+b.txt")
    with pytest.raises(UserError, match=message):
        list(readers.read(found, "text"))


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


def test_globs_commas_and_repeats(tmp_path):
    for name in ("b.txt", "a.txt", "c.csv", "odd, name.txt"):
        write(tmp_path / name, "x")
    names = [path.name for path in readers.find(f"{tmp_path}/c.csv, {tmp_path}/[ab].txt,{tmp_path}/a.txt")]
    assert names == ["c.csv", "a.txt", "b.txt"]
    assert [path.name for path in readers.find(f"{tmp_path}/odd, name.txt")] == ["odd, name.txt"]


def test_paths_that_match_nothing_or_no_text(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        readers.find(f"{tmp_path}/*.txt")
    with pytest.raises(UserError, match=r"a folder.*/\*\.txt"):
        readers.find(str(tmp_path))
    with pytest.raises(UserError, match=r"a\.pdf: \.pdf is not read; convert it"):
        readers.find(str(write(tmp_path / "a.pdf", "x")))
    assert readers.kind(write(tmp_path / "notes.md", "x")) == readers.kind(tmp_path / "a.md.gz") == ".txt"
