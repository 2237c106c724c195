"""Text that streams: whole characters only, stop strings however the tokens cut them."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

import lmlab
from lmlab import models, run
from lmlab.data.tokenizers import huggingface, pieces, plain
from lmlab.decoding.text import TextStream, generate
from lmlab.models import transformer
from lmlab.utils.errors import UserError

TEXT = "Grüße, 春眠不觉晓。 naïve — 😀👩‍👩‍👧 e\u0301\n\tdef f(x):  return x  ▁ ½ привет" * 3
KINDS = ("bytes", "chars", "bpe", "unigram", "bbpe", "file")


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory):
    """kind -> a tokenizer; the trained ones know little more than bytes, so that characters fall apart."""
    def llama_like():
        """A tokenizer.json as Llama 2's: byte fallback, spaces as ▁, the first one stripped."""
        import tokenizers as hf
        vocab = {"<unk>": 0, "</s>": 1, **{f"<0x{b:02X}>": b + 2 for b in range(256)}, "▁": 258, "a": 259, "n": 260}
        made = hf.Tokenizer(hf.models.BPE(vocab, [], byte_fallback=True, unk_token="<unk>"))
        made.add_special_tokens(["</s>"])
        made.normalizer = hf.normalizers.Sequence([hf.normalizers.Prepend("▁"), hf.normalizers.Replace(" ", "▁")])
        made.decoder = hf.decoders.Sequence([hf.decoders.Replace("▁", " "), hf.decoders.ByteFallback(),
                                             hf.decoders.Fuse(), hf.decoders.Strip(" ", 1, 0)])
        path = tmp_path_factory.mktemp("llama") / "tokenizer.json"
        made.save(str(path))
        return huggingface.HuggingFace.from_file(path)
    make = {"bytes": plain.Bytes, "chars": lambda: plain.Chars.train([TEXT]), "file": llama_like,
            "bpe": lambda: pieces.SentencePiece.train(["the cat sat on the mat\n" * 9], 275, "bpe"),
            "unigram": lambda: pieces.SentencePiece.train(["the cat sat on the mat\n" * 9], 272, "unigram"),
            "bbpe": lambda: huggingface.HuggingFace.train([TEXT], 270)}
    return functools.cache(lambda kind: make[kind]())


def streamed(tokenizer, ids, stops=()):
    stream = TextStream(tokenizer, stops)
    return [*(stream.push(i) for i in ids), stream.end()], stream


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_whole_characters_and_add_up(tokenizer_of, kind):
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(TEXT)
    out, stream = streamed(tokenizer, ids)
    assert "".join(out) == stream.text == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in out)
    if kind != "chars":
        assert len(ids) > len(TEXT) / 2 and sum(map(bool, out)) > 20  # it did stream


@pytest.mark.parametrize("kind", ["bytes", "chars", "bpe", "unigram", "bbpe"])
def test_any_ids_add_up_to_their_text(tokenizer_of, kind):
    tokenizer, rng = tokenizer_of(kind), np.random.default_rng(0)
    for _ in range(60):
        low = 128 if kind == "bytes" and rng.random() < 0.5 else 0  # mostly no UTF-8 at all
        ids = [int(i) for i in rng.integers(low, tokenizer.vocab_size, 40) if i != tokenizer.eod]
        out, stream = streamed(tokenizer, ids)
        assert "".join(out) == stream.text == tokenizer.decode(ids)


def test_a_whole_character_after_many_stray_bytes_survives():
    ids = [0xFF] * 7 + list("中".encode())
    assert "".join(streamed(plain.Bytes(), ids)[0]) == "\ufffd" * 7 + "中"


def test_an_unfinished_character_comes_out_at_the_end():
    out, _ = streamed(plain.Bytes(), list("a中".encode()[:-1]))
    assert out == ["a", "", "", "\ufffd"]


class Words:
    """A tokenizer of given words."""
    eod = -1

    def __init__(self, words):
        self.words = words

    def decode(self, ids):
        """The words, put together."""
        return "".join(self.words[i] for i in ids)


def first_stop(text, stops):
    """What stands before the stop string that is complete first, letter by letter."""
    for end in range(len(text) + 1):
        hits = [s for s in stops if text[:end].endswith(s)]
        if hits:
            return text[:end - max(map(len, hits))]
    return text


def test_stops_do_not_depend_on_how_the_text_is_cut():
    rng = np.random.default_rng(0)
    letters = lambda most: "".join(rng.choice(list("abc"), rng.integers(1, most)))
    for _ in range(500):
        words = [letters(5) for _ in range(12)]
        stops = [letters(6) for _ in range(rng.integers(0, 4))]
        out, stream = streamed(Words(words), range(len(words)), stops)
        assert "".join(out) == stream.text == first_stop("".join(words), stops), (words, stops)


def test_a_stop_in_what_was_held_back_is_seen_at_the_end():
    out, _ = streamed(plain.Bytes(), [*b"ab", 0xE4], stops=["b\ufffd"])
    assert "".join(out) == "a"


@pytest.fixture(scope="module")
def lm(lively):
    """A byte model with random parameters."""
    model = models.build("transformer", vocab_size=257, context=24, width=16, layers=1, heads=2)
    params = lively(nn.meta.unbox(transformer.init(model, jax.random.key(0))))
    return run.LM(model, params, plain.Bytes(), None, 0)


def test_generate_streams_what_it_returns(lm):
    heard = {}
    prompts = ["", "Grüße", "春眠不觉晓, 处处闻啼鸟", "x" * 50]
    texts = generate(lm, prompts, max_new_tokens=40, temperature=0.9, seed=3,
                     on_text=lambda row, text: heard.setdefault(row, []).append(text))
    assert ["".join(heard[row]) for row in range(4)] == texts and all(texts)
    assert texts == generate(lm, prompts, max_new_tokens=40, temperature=0.9, seed=3)
    assert texts != generate(lm, prompts, max_new_tokens=40, temperature=0.9, seed=4)
    assert texts[0] == generate(lm, "", max_new_tokens=40, temperature=0.9, seed=3)


def test_generate_stops_at_strings(lm):
    whole = generate(lm, "春", max_new_tokens=40, temperature=0)
    assert len(whole) > 8
    for stop in (whole[0], whole[3:5], [whole[6:8], whole[4:6], ""], ["never in it"]):
        stops = [s for s in ([stop] if isinstance(stop, str) else stop) if s]
        assert generate(lm, "春", max_new_tokens=40, temperature=0, stop=stop) == first_stop(whole, stops)


def test_generate_handles_little(lm):
    assert generate(lm, [], max_new_tokens=4) == []
    assert generate(lm, "a", max_new_tokens=0) == ""
    assert generate(lm, ["a"], max_new_tokens=0) == [""]
    assert isinstance(generate(lm, "\udcff lone surrogate", max_new_tokens=2), str)


@pytest.mark.parametrize("values", [dict(max_new_tokens=-1), dict(max_new_tokens=1.5), dict(seed=-1),
                                    dict(seed=2 ** 70), dict(temperature=999999), dict(top_p=-1)], ids=str)
def test_generate_refuses_impossible_values(lm, values):
    with pytest.raises(UserError, match=next(iter(values))):
        generate(lm, "a", **values)


def test_a_character_that_the_tokenizer_does_not_know_is_named(lm):
    odd = run.LM(lm.model, lm.params, plain.Chars("abc"), None, 0)
    with pytest.raises(UserError, match="'中'.*chars"):
        generate(odd, ["abc", "ab中"])
    assert isinstance(generate(odd, "abc", max_new_tokens=0), str)


def test_the_face_stays_a_function():
    assert lmlab.generate is generate
