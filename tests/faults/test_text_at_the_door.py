"""Text of odd sizes and kinds, from the file to stored tokens: the right result or one line, and no hang."""

import gzip
import json
import time

import pytest

from lmlab.data import corpus, store, tokenizers
from lmlab.utils.errors import UserError

MB = 1_000_000
ROW = '{"text": "row %d"}\n'
MANY = "".join(ROW % i for i in range(99))
CASES = {  # file: (content, text of the train split or what is said)
    "long_line.txt": ("x" * 10 * MB, "x" * 9 * MB),
    "long_words.txt": ("\U0001f469\u200d" * MB, None),
    "giant.txt": ("one giant document\n" * MB, None),
    "spaces.txt": (" " * (10 * MB) + "end" * MB, None),
    "no_text.txt": ("", "is empty"), "white.txt": (" \t\r\n\u3000\x0b" * (MB // 5), "is empty"),
    "empty_lines.txt": ("\n" * (5 * MB), "is empty"), "nul.txt": ("a" * MB + "\0" + "b" * MB, "line 1: a NUL byte"),
    "short.txt": ("a", "too short to be cut"), "windows.txt": ("\ufeffa\r\nb\r\n" * (MB // 5), None),
    "empty_lines.jsonl": ("\n" * (5 * MB) + MANY, None),
    "empty_lines.csv": ("\n" * (5 * MB) + "text\n" + "".join(f"row {i}\n\n" for i in range(99)), None),
    "no_rows.csv": ("\n" * (5 * MB), "is empty"),
    "long_rows.jsonl": (json.dumps({"text": "ten " * (5 * MB // 2)}) + "\n" + MANY, None),
    "long_cells.csv": ('text\n"' + 'ten ""\n' * (3 * MB // 2) + '"\n' + "".join(f"row {i}\n" for i in range(99)), None),
    "open_quote.csv": ('text\n"' + "row\n" * MB, "not csv (unexpected end of data)"),
    "same.jsonl": (ROW % 1 * 100_000, "99999 of the 100000 read are repetitions"),
    "numbers.jsonl": ((ROW % 1 + '{"text": 5}\n') * 9, "line 2: no text in field 'text'; it has int there"),
    "deep.jsonl": ("[" * (10 * MB), "line 1: not JSON"), "wide.csv": ("a," * MB + "\n", "no column 'text'; it has a, "),
    "utf16.txt": (("text " * MB).encode("utf-16"), "UTF-16"), "binary.txt": (bytes(range(256)) * 4000, "line 1: a NUL"),
    "latin.txt": ("caf\xe9\n".encode("latin-1") * MB, "line 1: not UTF-8 (byte 0xe9)"),
    "cut.txt.gz": (gzip.compress(b"some text, " * MB)[:-2000], "cannot be read after line"),
    "no.txt.gz": (b"plain", "cannot be read after line 0 (Not a gzipped file"),
}


@pytest.fixture(scope="module")
def outcomes(tally):
    """{case: seconds, or None where it failed}, of which one row of the table is made at the end."""
    found = {}
    yield found
    good = [seconds for seconds in found.values() if seconds is not None]
    tally("text at the door: odd sizes and kinds", len(found), len(good),
          f"the slowest in {max(good, default=0):.1f} s")


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_right_tokens_or_one_line(name, tmp_path, outcomes):
    content, expected = CASES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    began, said = time.monotonic(), ""
    outcomes[name] = None
    try:
        built = corpus.build(path=str(tmp_path / name), validation=0.1, test=0)
        split = store.open_split(store.prepare(built, tokenizers.build(corpus=built), tmp_path / "store"), "train")
    except UserError as error:
        said = str(error)
    seconds = time.monotonic() - began
    if expected is None or name == "long_line.txt":
        assert not said
        texts = list(built.documents("train"))
        assert bytes(split.tokens[1:split.offsets[1]].astype("u1")) == texts[0].encode()
        assert not expected or texts == [expected]
    else:
        assert expected in said and name in said and len(said) < 700, said
    assert seconds < 100  # 10 on a machine that does nothing else
    outcomes[name] = seconds


def test_a_folder_given_as_a_file_is_named(tmp_path):
    (tmp_path / "a.txt").mkdir()
    for name, message in ((f"{tmp_path}/a.txt", "a folder"), (f"{tmp_path}/*.txt", "no such file"),
                          (f"{tmp_path}/b.txt", "no such file"), ("/dev/zero", "no such file")):
        with pytest.raises(UserError, match=message):
            corpus.build(path=name)
