"""What every tokenizer must do: round trips of hostile text, specials as plain text, saving, errors."""

import random
import re
from pathlib import Path

import pytest

from lmlab.data import corpus, tokenizers
from lmlab.data.tokenizers import plain
from lmlab.utils.errors import UserError

HOSTILE = [
    "", " ", "\n", "\t", "  two  spaces  ", "\n\n  indented\n\tcode: \r\n\rend ",
    "naïve e\u0301 \u1100\u1161", "中文，没有空格。",
    "👩‍👩‍👧‍👦 🏳️‍🌈", "a\0b\0", "\u2581 \u2581\u2581 \u2585 \u2047",
    "\ufeff\ufffd\u2028\x85\u00a0\u3000", "<0x41> <0x0A>",
    "<eod> <unk> <s> </s> <pad>", "x<|endoftext|>y</s>[SEP]", "\U0010ffff\x7f\x01",
    "x" * 5000, "ab \n" * 1000,
]
LOSSLESS = ("bpe", "unigram", "bbpe")
TRAINED = (*LOSSLESS, "wordpiece", "wordpiece-uncased")
SMALL = {"wordpiece": 60, "wordpiece-uncased": 60}  # the small corpus has few words; others need 256 bytes
ROLES = ("mask", "unk", "extra_0", "extra_1", "extra_2")


@pytest.fixture(scope="module", params=["bytes", *LOSSLESS])
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


def test_offsets_are_the_characters_of_each_token(tokenizer):
    for text in HOSTILE[:-2]:
        ids, offsets = tokenizer.encode_offsets(text)
        assert ids == tokenizer.encode(text) and len(offsets) == len(ids)
        assert {i for start, end in offsets for i in range(start, end)} == set(range(len(text)))
        assert offsets == sorted(offsets)
        for i, (start, end) in zip(ids, offsets):
            alone = tokenizer.decode([i])
            assert alone == text[start:end] or "\ufffd" in alone  # a part of a character


def test_lone_surrogates_and_broken_bytes_become_replacement_characters(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    ids = tokenizer.encode("é€")
    whole = [tokenizer.decode(ids[:n]) for n in range(len(ids) + 1)]
    assert whole[0] == "" and whole[-1] == "é€" and all(set(text) <= set("é€\ufffd") for text in whole)


def test_decode_skips_eod(tokenizer):
    ids = tokenizer.encode("one two")
    assert tokenizer.decode([tokenizer.eod, *ids, tokenizer.eod]) == "one two"


def assert_same(a, b):
    """Two tokenizers are the same to the rest of the code."""
    for name in ("kind", "vocab_size", "eod", "specials", "chat_template"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.encode_batch(HOSTILE) == b.encode_batch(HOSTILE)
    assert tokenizers.digest(a) == tokenizers.digest(b)


@pytest.mark.parametrize("name", ["bytes", "chars", *TRAINED])
@pytest.mark.parametrize("roles", [(), ROLES])
def test_saved_and_loaded_is_the_same(name, roles, docs, tmp_path):
    tokenizer = tokenizers.build(name, 512, specials=roles, corpus=docs)
    tokenizer.save(tmp_path / "t")
    assert_same(tokenizers.load(tmp_path / "t"), tokenizer)


@pytest.mark.parametrize("name", ["bytes", "chars", *TRAINED])
def test_roles_come_after_the_vocabulary_and_change_nothing_else(name, docs):
    base = tokenizers.build(name, 512, corpus=docs)
    new = [role for role in ROLES if role not in base.specials]
    extended = tokenizers.extend(base, ROLES)
    assert extended.vocab_size == base.vocab_size + len(new)
    assert {role: extended.specials[role] for role in base.specials} == base.specials
    assert sorted(extended.specials[role] for role in new) == [*range(base.vocab_size, extended.vocab_size)]
    sentinels = [extended.specials[f"extra_{n}"] for n in range(3)]
    assert sentinels == [extended.vocab_size - n for n in (1, 2, 3)]  # as in T5, <extra_id_0> is the highest
    ids = base.encode("one two <mask> <extra_id_0>")
    assert extended.encode("one two <mask> <extra_id_0>") == ids and not set(ids) & set(sentinels)
    assert extended.encode_batch(HOSTILE) == base.encode_batch(HOSTILE)
    mixed = [sentinels[0], *ids[:3], sentinels[1], *ids[3:], sentinels[2]]
    assert extended.decode(mixed) == base.decode(ids)
    assert tokenizers.digest(extended) != tokenizers.digest(base)
    assert tokenizers.extend(extended, ROLES) is extended and tokenizers.extend(base, ()) is base


def test_extended_twice_keeps_the_ids_it_has(docs, tmp_path):
    once = tokenizers.build("bytes", specials=("mask",), corpus=docs)
    twice = tokenizers.extend(once, ("extra_0", "mask", "pad"))
    assert twice.specials == {"mask": 257, "pad": 258, "extra_0": 259}
    twice.save(tmp_path)
    assert_same(tokenizers.load(tmp_path), twice)


def test_trained_tokenizers_have_the_size_asked_for_and_compress(docs):
    text = "\n".join(docs.documents("validation"))
    built = [tokenizers.build(name, 512, corpus=docs) for name in TRAINED]
    assert [tokenizer.vocab_size for tokenizer in built] == [512] * 5
    assert all(len(tokenizer.encode(text)) < 0.6 * len(text) for tokenizer in built)
    assert len({tokenizers.digest(tokenizer) for tokenizer in built}) == 5


@pytest.mark.parametrize("name", TRAINED)
def test_training_sees_the_train_split_only_and_always_gives_the_same(name, small, monkeypatch, tmp_path):
    asked = []
    kind, read = type(small), type(small).documents
    monkeypatch.setattr(kind, "documents", lambda self, split: asked.append(split) or read(self, split))
    digests = set()
    for folder in "ab":  # two caches, so that it is trained twice
        monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / folder))
        digests.add(tokenizers.digest(tokenizers.build(name, SMALL.get(name, 280), corpus=small)))
    assert len(digests) == 1 and set(asked) == {"train"}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("size, fault", [(20, "small"), (100_000, "large")])
def test_an_impossible_vocabulary_names_one_that_would_do(name, size, fault, small):
    with pytest.raises(UserError, match=f"vocab_size={size} is too {fault}.*; use") as error:
        tokenizers.build(name, size, corpus=small)
    would_do = int(re.search(r"\d+", str(error.value).split("; use")[1])[0])
    assert tokenizers.build(name, would_do, corpus=small).vocab_size == would_do


def test_a_space_that_no_training_text_held_comes_back(tmp_path):
    """Chinese text has no spaces, so a sentencepiece model of it has no piece for one."""
    for name in ("bpe", "unigram"):
        chinese = corpus.build(path=str(Path(__file__).parents[3] / "examples/chinese.jsonl"))
        tokenizer = tokenizers.build(name, 800, corpus=chinese)
        for text in ("a b", " ", "\u2581 \u2581", "中 文\u3000 "):
            assert tokenizer.decode(tokenizer.encode(text)) == text
            assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]


def test_a_pair_of_surrogates_is_one_character_and_half_a_one_is_none():
    chars = plain.Chars("a\U0001f600")
    assert chars.encode("\ud83d\ude00a\ud83d") == chars.encode("\U0001f600a\ufffd") == [3, 2, 1]


@pytest.mark.parametrize("name, file, content", [
    ("chars", "lmlab_tokenizer.json", '{"kind": "chars"}'), ("chars", "lmlab_tokenizer.json", '{"kind": ["chars"]}'),
    ("chars", "lmlab_tokenizer.json", '{"kind": "chars", "characters": 5}'),
    ("chars", "lmlab_tokenizer.json", '{"kind": "chars", "characters": "aa"}'),
    ("bytes", "lmlab_tokenizer.json", "[" * 100_000), ("bytes", "lmlab_added.json", "{"),
    ("bytes", "lmlab_added.json", '{"mask": 1}'), ("bytes", "lmlab_added.json", '["\\ud800"]'),
    ("bytes", "lmlab_added.json", "\0"), ("bpe", "sentencepiece.model", "x"), ("bbpe", "tokenizer.json", "{}"),
    ("bbpe", "lmlab_tokenizer.json", '{"kind": "bbpe", "eod": "x"}'),
    ("bbpe", "lmlab_tokenizer.json", '{"kind": "bbpe", "eod": 99999}')])
def test_a_damaged_file_is_one_line_that_names_the_folder(name, file, content, docs, tmp_path):
    tokenizers.build(name, 512, specials=("mask",), corpus=docs).save(tmp_path)
    (tmp_path / file).write_text(content, "utf-8")
    with pytest.raises(UserError, match=f"{tmp_path}.*(damaged|not a tokenizer|unknown tokenizer)"):
        tokenizers.load(tmp_path)


def test_unknown_names_and_folders(docs, tmp_path):
    with pytest.raises(UserError, match="config.tokenizer.name='bype' is unknown; did you mean 'bpe'"):
        tokenizers.build("bype", corpus=docs)
    with pytest.raises(UserError, match="no tokenizer here"):
        tokenizers.load(tmp_path)
    (tmp_path / "lmlab_tokenizer.json").write_text('{"kind": "bpe"}')
    with pytest.raises(UserError, match="sentencepiece.model is missing"):
        tokenizers.load(tmp_path)
