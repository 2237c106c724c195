"""Text that streams: whole characters only, stop strings however the tokens cut them."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

import lmlab
from lmlab import models, run
from lmlab.data.tokenizers import huggingface, pieces, plain
from lmlab.decoding import beam, text
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
    params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()))
    return run.LM(model, params, plain.Bytes(), None, 0)


@pytest.fixture(scope="module")
def answering(lively):
    """An encoder-decoder of bytes with random parameters."""
    model = models.build("transformer", vocab_size=257, context=24, width=16, layers=1, heads=2, encoder_layers=1,
                         positions="relative", norm="rms")
    params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()), 0.4)
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
                                    dict(seed=2 ** 70), dict(temperature=999999), dict(top_p=-1), dict(beams=0),
                                    dict(beams=2.0), dict(beams=True), dict(length_penalty="1"),
                                    dict(length_penalty=float("nan"))], ids=str)
def test_generate_refuses_impossible_values(lm, values):
    with pytest.raises(UserError, match=next(iter(values))):
        generate(lm, "a", **values)


def test_a_character_that_the_tokenizer_does_not_know_is_named(lm):
    odd = run.LM(lm.model, lm.params, plain.Chars("abc"), None, 0)
    with pytest.raises(UserError, match="'中'.*chars"):
        generate(odd, ["abc", "ab中"])
    assert isinstance(generate(odd, "abc", max_new_tokens=0), str)


def test_ids_are_taken_as_they_are(lm):
    settings = dict(max_new_tokens=8, temperature=0)
    whole = generate(lm, "Grüße", **settings)
    ids = [256, *"Grüße".encode()]
    assert generate(lm, ids, **settings) == generate(lm, np.array(ids), **settings) == whole
    assert generate(lm, [ids, "Grüße", tuple(ids)], **settings) == [whole] * 3
    assert generate(lm, ids[1:], **settings) != whole


@pytest.mark.parametrize("prompts,message", [
    ([[1, 2], []], "prompt 2 must be text or a list of token ids"), ([[1.5]], "prompt 1 must be text"),
    ([1, "a"], "prompt 1 must be text"), ([True], "prompt 1 must be text"),
    ([3, 257], "prompt 1 holds the id 257; the model has ids from 0 to 256"),
    (["a", [-1]], "prompt 2 holds the id -1"),
], ids=str)
def test_prompts_that_are_none_are_refused(lm, prompts, message):
    with pytest.raises(UserError, match=message):
        generate(lm, prompts)


class Marked(plain.Bytes):
    """Bytes and given ids by role."""

    def __init__(self, **specials):
        self.specials = specials


def read_by(monkeypatch, lm, prompt, **settings):
    """What generate has the model read: the prompts of cached.continuations or beam.search, and their settings."""
    seen = []

    def noted(model, params, prompts, *_, **settings):
        seen.append((prompts, settings))
        return []
    monkeypatch.setattr(text, "continuations", noted)
    monkeypatch.setattr(text.beam, "search", noted)
    generate(lm, prompt, **settings)
    return seen[0]


@pytest.mark.parametrize("encoder", [False, True], ids=["decoder", "encoder-decoder"])
@pytest.mark.parametrize("specials,decoder,around,start", [
    ({}, [256, 97], [97, 256], 256), ({"bos": 5}, [5, 97], [5, 97, 256], 256),
    ({"bos": -1, "decoder_start": 7}, [97], [97, 256], 7),
], ids=str)
def test_what_stands_around_a_prompt(lm, answering, monkeypatch, encoder, specials, decoder, around, start):
    lm = dataclasses.replace(answering if encoder else lm, tokenizer=Marked(**specials))
    prompts, settings = read_by(monkeypatch, lm, ["a", [9]])
    assert prompts == [around if encoder else decoder, [9]]
    assert settings["start"] == start and settings["eod"] == 256
    assert read_by(monkeypatch, lm, "a", beams=2)[1]["start"] == start


def test_an_empty_prompt_needs_something_to_begin_with(lm):
    with pytest.raises(UserError, match="prompt 2 is empty"):
        generate(dataclasses.replace(lm, tokenizer=Marked(bos=-1)), ["a", ""])


def test_an_encoder_decoder_answers_each_prompt_as_if_alone(answering):
    prompts = ["", "Grüße", "春眠不觉晓"]
    for settings in (dict(temperature=0), dict(temperature=0, beams=3, length_penalty=0.5)):
        texts = generate(answering, prompts, max_new_tokens=50, **settings)
        assert texts == [generate(answering, p, max_new_tokens=50, **settings) for p in prompts]
    with pytest.raises(UserError, match="prompt 2 has 31 tokens and the encoder reads at most 24"):
        generate(answering, ["a", "x" * 30])


def test_beams_give_the_text_of_the_best_hypothesis(lm):
    heard, prompts = {}, ["", "春眠", [256, 120]]
    texts = generate(lm, prompts, beams=3, max_new_tokens=30, length_penalty=0.8, stop="never in it",
                     on_text=lambda row, text: heard.setdefault(row, []).append(text))
    found = beam.search(lm.model, lm.params, [[256], [256, *"春眠".encode()], [256, 120]], beams=3, count=30,
                        length_penalty=0.8, eod=256)
    assert texts == [lm.tokenizer.decode(h.tokens) for h in found] == ["".join(heard[row]) for row in range(3)]
    assert texts == generate(lm, prompts, beams=3, max_new_tokens=30, length_penalty=0.8, temperature=0.3, seed=9)
    stop = texts[0][3]
    assert generate(lm, prompts, beams=3, max_new_tokens=30, length_penalty=0.8, stop=stop)[0] == first_stop(
        texts[0], [stop])
    assert generate(lm, "a", beams=3, max_new_tokens=0) == ""


@pytest.mark.parametrize("values", [dict(top_k=5), dict(top_p=0.9), dict(min_p=0.1), dict(repetition_penalty=1.2)],
                         ids=str)
def test_what_draws_is_refused_beside_beams(lm, values):
    with pytest.raises(UserError, match=f"{next(iter(values))}=.* has no meaning with beams=2"):
        generate(lm, "a", beams=2, **values)


def test_an_encoder_is_sent_to_its_pipelines(lm):
    encoder = models.build("transformer", vocab_size=257, context=24, width=16, layers=1, heads=2, attends="full")
    with pytest.raises(UserError, match=r'an encoder makes no text; use lmlab.pipeline\("feature-extraction"'):
        generate(dataclasses.replace(lm, model=encoder), "a")


def test_the_face_stays_a_function():
    assert lmlab.generate is generate


@pytest.mark.parametrize("listed", [True, False])
def test_a_model_from_elsewhere_may_have_more_than_one_end(lm, listed):
    whole = generate(lm, "春 cat", max_new_tokens=12, temperature=0)
    stop = [i for i in whole.encode() if i < 128][0]
    config = {"extras": {"generation": {"eos": [3, stop] if listed else stop}}}
    cut = generate(dataclasses.replace(lm, config=config), "春 cat", max_new_tokens=12, temperature=0)
    assert cut == whole[:whole.index(chr(stop))]
