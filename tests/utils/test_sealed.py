"""JSON files that tell a change: every bit of one, against the values that were written."""

import json
import math

import pytest

from lmlab.utils import sealed
from lmlab.utils.errors import UserError

VALUE = {"name": "深 é", "rate": 1e-3, "list": [1, 2.5, None, True], "deep": {"b": 0, "a": {}}, "big": 2 ** 70}


def test_what_was_written_comes_back_and_plain_json_reads_it(tmp_path):
    sealed.write(tmp_path / "a.json", VALUE)
    assert sealed.read(tmp_path / "a.json") == VALUE
    plain = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert len(plain.pop(sealed.KEY)) == 64 and plain == VALUE and list(plain) == list(VALUE)


def test_every_flipped_bit_is_seen_or_changes_no_value(tmp_path):
    path = tmp_path / "a.json"
    sealed.write(path, VALUE)
    whole = path.read_bytes()
    refused = 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            value = sealed.read(path)
            assert {k: v for k, v in value.items() if k in VALUE} == VALUE, bit  # only the digest's key has changed
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and "restore it from a copy" in str(error)
    assert refused > 7.5 * len(whole)


def test_order_and_spaces_do_not_count_but_the_files_name_does(tmp_path):
    sealed.write(tmp_path / "a.json", VALUE)
    text = json.dumps(json.loads((tmp_path / "a.json").read_text("utf-8")), sort_keys=True)
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json").write_text(text)
    assert sealed.read(tmp_path / "a.json") == VALUE
    with pytest.raises(UserError, match="b.json is not as it was written"):
        sealed.read(tmp_path / "b.json")


def test_without_its_first_line_it_is_taken_as_it_is(tmp_path):
    sealed.write(tmp_path / "a.json", VALUE)
    lines = (tmp_path / "a.json").read_text("utf-8").split("\n")
    assert sealed.KEY in lines[1]
    (tmp_path / "a.json").write_text("\n".join([lines[0], *lines[2:]]).replace("2.5", "3.5"), "utf-8")
    assert sealed.read(tmp_path / "a.json") == VALUE | {"list": [1, 3.5, None, True]}


def test_floats_that_are_not_finite(tmp_path):
    sealed.write(tmp_path / "a.json", {"clip": math.inf, "x": math.nan})
    found = sealed.read(tmp_path / "a.json")
    assert found["clip"] == math.inf and math.isnan(found["x"])


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff{}", b"[" * 10 ** 6, b"null"])
def test_no_object_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="a.json is damaged"):
        sealed.read(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        sealed.read(tmp_path / "none.json")
    with pytest.raises(UserError, match=f"{tmp_path.name} is damaged"):
        sealed.read(tmp_path)
