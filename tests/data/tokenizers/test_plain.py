"""Bytes against Python's own UTF-8; characters against a table made by hand."""

from lmlab.data.tokenizers import load, plain


def test_bytes_are_utf8():
    assert plain.Bytes().encode("aé中") == list("aé中".encode())
    assert plain.Bytes().decode([0xe4, 0xb8, 256, 0xad, 0xff]) == "中\ufffd"


def test_characters_in_code_point_order_with_one_id_for_all_others(tmp_path):
    chars = plain.Chars.train(["cab\n", "\0é"])
    assert chars.vocab_size == 8  # eod, unk, \0 \n a b c é
    assert chars.encode("ab\0\n z") == [4, 5, 2, 3, 1, 1]
    assert chars.decode([0, 4, 5, 0, 1, 7]) == "ab\ufffdé"
    chars.save(tmp_path)
    assert load(tmp_path).encode_batch(["\0é", ""]) == [[2, 7], []]
