"""Any tokenizer.json: the library's own ids, and no special token ever taken from the text."""

import pytest
import tokenizers as library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lmlab.data import tokenizers
from lmlab.utils.errors import UserError

TEXTS = ["the cat sat on the mat", "A b\n c", "on the mat sat </s> cat"]


def save(tokenizer, folder, special):
    """tokenizer as a file with its special tokens, padding and truncation switched on to be in the way."""
    tokenizer.add_special_tokens(special)
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def unigram(folder):
    """A T5-like model, whose vocabulary holds </s> as an ordinary piece."""
    pieces = [("<unk>", 0.0), ("</s>", -1.0), ("▁the", -2.0), ("▁cat", -2.0)]
    pieces += [(character, -5.0) for character in "▁abcehnomst</>"]
    tokenizer = library.Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return save(tokenizer, folder, ["</s>", "<unk>"])


def wordpiece(folder):
    """A BERT-like model, lower-casing, with [SEP] for its end."""
    tokenizer = library.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    return save(tokenizer, folder, ["[SEP]", "[CLS]", "[UNK]"])


def test_byte_level_bpe_equals_the_library_and_keeps_specials_plain(docs, tmp_path):
    ours = tokenizers.build("bbpe", 512, corpus=docs)
    ours.save(tmp_path)
    plain = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = list(docs.documents("validation"))[:200]
    assert ours.encode_batch(texts) == [encoding.ids for encoding in plain.encode_batch(texts)]
    assert plain.encode("<|endoftext|>").ids == [ours.eod]  # the library would take it from the text
    assert ours.eod not in ours.encode("<|endoftext|>")


@pytest.mark.parametrize("make, end", [(unigram, "</s>"), (wordpiece, "[SEP]")])
def test_a_file_gives_the_library_s_ids_and_never_its_end_token(make, end, tmp_path, docs):
    path = make(tmp_path)
    ours = tokenizers.build("file", path=path, corpus=docs)
    plain = library.Tokenizer.from_file(path)
    plain.no_padding()
    plain.no_truncation()
    assert ours.eod == plain.token_to_id(end)
    assert ours.vocab_size == plain.get_vocab_size()
    for text in TEXTS[:2]:
        assert ours.encode(text) == plain.encode(text, add_special_tokens=False).ids
    for text in (end, f"the{end} cat", f"{end}{end}", f"a {end}"):
        ids = ours.encode(text)
        assert ids and ours.eod not in ids
    assert ours.decode([ours.eod, *ours.encode("the cat"), ours.eod]) == "the cat"
    ours.save(tmp_path / "saved")
    assert tokenizers.load(tmp_path / "saved").encode(f"the {end} cat") == ours.encode(f"the {end} cat")


def test_unigram_text_with_its_end_token_written_out_survives(tmp_path, docs):
    ours = tokenizers.build("file", path=unigram(tmp_path), corpus=docs)
    assert "".join(ours.decode(ours.encode("the</s>cat")).split()) == "the</s>cat"


def test_files_that_will_not_do(tmp_path, docs):
    with pytest.raises(UserError, match="no such file"):
        tokenizers.build("file", path=str(tmp_path / "x.json"), corpus=docs)
    (tmp_path / "tokenizer.json").write_text('{"not": "one"}')
    with pytest.raises(UserError, match="not a tokenizer.json"):
        tokenizers.build("file", path=str(tmp_path), corpus=docs)
    endless = library.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    endless.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="no end token"):
        tokenizers.build("file", path=str(tmp_path), corpus=docs)


def test_markup_gives_special_tokens_and_shielded_text_none(tmp_path, docs):
    for make, end in ((unigram, "</s>"), (wordpiece, "[SEP]")):
        ours = tokenizers.build("file", path=make(tmp_path), corpus=docs)
        assert ours.encode_markup(f"the cat{end}cat") == [*ours.encode("the cat"), ours.eod, *ours.encode("cat")]
        for text in (f"the {end}{end} cat", end, end[:-1], end[0], end[1:], f"x{end[:2]}"):
            parts = ours.shield(text, "\U000f0000").split("\U000f0000")
            assert "".join(parts) == text
            assert ours.eod not in [i for part in (end[0], *parts, end[1:]) for i in ours.encode_markup(part)]
            # what the neighbours begin or end with makes no special token of the text's own end
            assert ours.eod not in [i for part in f"a{ours.shield(text, chr(0xf0000))}b".split("\U000f0000")
                                    for i in ours.encode_markup(part)]
        assert ours.shield("the cat", "#") == "the cat"


def test_markup_is_not_fooled_by_the_normaliser(tmp_path, docs):
    tokenizer = library.Tokenizer(models.WordLevel({"[SEP]": 0, "a": 1, "?": 2}, unk_token="?"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([library.AddedToken("[SEP]", normalized=True), "?"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = tokenizers.build("file", path=str(tmp_path), corpus=docs)
    wide = "\uff3bSEP\uff3d"  # NFKC makes [SEP] of it
    assert ours.encode_markup("a [SEP] a") == [1, 0, 1]
    assert 0 not in ours.encode(f"a {wide} a") and 0 not in ours.encode_markup(f"a {wide} a")
    assert ours.encode_markup(f"[SEP] {wide} [SEP]").count(0) == 2
