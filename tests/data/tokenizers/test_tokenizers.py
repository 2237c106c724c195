"""What every tokenizer must do: round trips of hostile text, specials as plain text, saving, errors."""

import random
import re

import pytest

from lmlab.data import tokenizers
from lmlab.utils.errors import UserError

HOSTILE = [
    "", " ", "\n", "\t", "  two  spaces  ", "\n\n  indented\n\tcode: \r\n\rend ",
    "naïve e\u0301 \u1100\u1161", "中文，没有空格。",
    "👩‍👩‍👧‍👦 🏳️‍🌈", "a\0b\0", "\u2581 \u2581\u2581 \u2585 \u2047",
    "\ufeff\ufffd\u2028\x85\u00a0\u3000", "<0x41> <0x0A>",
    "<eod> <unk> <s> </s> <pad>", "x<|endoftext|>y</s>[SEP]", "\U0010ffff\x7f\x01",
    "x" * 5000, "ab \n" * 1000,
]
TRAINED = ("bpe", "unigram", "bbpe")


@pytest.fixture(scope="module", params=["bytes", *TRAINED])
def tokenizer(request, docs):
    """Each tokenizer that knows every byte, small."""
    return tokenizers.build(request.param, 512, corpus=docs)


def test_hostile_text_makes_the_round_trip(tokenizer):
    for text, ids in zip(HOSTILE, tokenizer.encode_batch(HOSTILE)):
        assert tokenizer.decode(ids) == text
        assert tokenizer.encode(text) == ids
        assert tokenizer.eod not in ids
        assert all(0 <= i < tokenizer.vocab_size for i in ids)


def test_random_unicode_makes_the_round_trip(tokenizer):
    rng = random.Random(0)
    alphabet = " \n\t▁<|>/sé中\u0301\u200d\0" + "".join(map(chr, range(33, 127)))

    def character():
        return rng.choice(alphabet) if rng.random() < 0.8 else chr(rng.randrange(0xd800))

    texts = ["".join(character() for _ in range(n)) for n in range(300)]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_lone_surrogates_and_broken_bytes_become_replacement_characters(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    ids = tokenizer.encode("é€")
    whole = [tokenizer.decode(ids[:n]) for n in range(len(ids) + 1)]
    assert whole[0] == "" and whole[-1] == "é€" and all(set(text) <= set("é€\ufffd") for text in whole)


def test_decode_skips_eod(tokenizer):
    ids = tokenizer.encode("one two")
    assert tokenizer.decode([tokenizer.eod, *ids, tokenizer.eod]) == "one two"


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t")
    again = tokenizers.load(tmp_path / "t")
    assert (again.kind, again.vocab_size, again.eod) == (tokenizer.kind, tokenizer.vocab_size, tokenizer.eod)
    assert again.encode_batch(HOSTILE) == tokenizer.encode_batch(HOSTILE)
    assert tokenizers.digest(again) == tokenizers.digest(tokenizer)


def test_trained_tokenizers_have_the_size_asked_for_and_compress(docs):
    text = "\n".join(docs.documents("validation"))
    built = [tokenizers.build(name, 512, corpus=docs) for name in TRAINED]
    assert [tokenizer.vocab_size for tokenizer in built] == [512] * 3
    assert all(len(tokenizer.encode(text)) < 0.6 * len(text) for tokenizer in built)
    assert len({tokenizers.digest(tokenizer) for tokenizer in built}) == 3


@pytest.mark.parametrize("name", TRAINED)
def test_training_sees_the_train_split_only_and_always_gives_the_same(name, small, monkeypatch, tmp_path):
    asked = []
    kind, read = type(small), type(small).documents
    monkeypatch.setattr(kind, "documents", lambda self, split: asked.append(split) or read(self, split))
    digests = set()
    for folder in "ab":  # two caches, so that it is trained twice
        monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / folder))
        digests.add(tokenizers.digest(tokenizers.build(name, 280, corpus=small)))
    assert len(digests) == 1 and set(asked) == {"train"}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("size, fault", [(40, "small"), (100_000, "large")])
def test_an_impossible_vocabulary_names_one_that_would_do(name, size, fault, small):
    with pytest.raises(UserError, match=f"vocab_size={size} is too {fault}.*; use") as error:
        tokenizers.build(name, size, corpus=small)
    would_do = int(re.search(r"\d+", str(error.value).split("; use")[1])[0])
    assert tokenizers.build(name, would_do, corpus=small).vocab_size == would_do


def test_unknown_names_and_folders(docs, tmp_path):
    with pytest.raises(UserError, match="config.tokenizer.name='bype' is unknown; did you mean 'bpe'"):
        tokenizers.build("bype", corpus=docs)
    with pytest.raises(UserError, match="no tokenizer here"):
        tokenizers.load(tmp_path)
    (tmp_path / "lmlab_tokenizer.json").write_text('{"kind": "bpe"}')
    with pytest.raises(UserError, match="sentencepiece.model is missing"):
        tokenizers.load(tmp_path)
