"""What people read of a run: special tokens spelt out, guesses beside the truth, answers beside what was wanted."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, run
from lmlab.data import tokenizers
from lmlab.data.tokenizers.plain import Bytes
from lmlab.eval import samples
from lmlab.models import transformer

TOKENIZER = tokenizers.extend(Bytes(), ("mask", "extra_0"))
EVALS = SimpleNamespace(samples=2, sample_tokens=5, temperature=0.0, prompt="")


def lm(**more):
    """A random model of bytes."""
    model = models.build("transformer", vocab_size=TOKENIZER.vocab_size, context=16, width=8, layers=1, heads=2, **more)
    params = nn.meta.unbox(transformer.init(model, jax.random.key(0)))
    return run.LM(model, params, TOKENIZER, None, 0)


def rows(*texts):
    """(ids, segments) of texts, padded."""
    ids = np.zeros((len(texts), 16), np.int32)
    segments = np.zeros_like(ids)
    for b, text in enumerate(texts):
        ids[b, :len(text)], segments[b, :len(text)] = list(text), 1
    return ids, segments


def test_special_tokens_are_spelt_out():
    extra, mask = TOKENIZER.specials["extra_0"], TOKENIZER.specials["mask"]
    assert samples.spell(TOKENIZER, [*b"a ", extra, *"春".encode(), mask, TOKENIZER.eod, 98]) == "a <extra_0>春<mask>b"


@pytest.mark.parametrize("guess, text", [(b"cat", "c[a]t"), (b"cot", "c[o|a]t")])
def test_a_guess_stands_beside_the_truth(guess, text):
    original, weights = np.array(list(b"cat\0")), np.array([0, 1, 0, 0])
    assert samples._filled(TOKENIZER, original, np.array([*guess, 0]), weights, np.array([1, 1, 1, 0])) == text


def test_an_encoder_guesses_what_is_masked():
    ids, segments = rows(b"the cat", b"sat")
    weights = np.zeros(ids.shape, np.float32)
    weights[0, 2] = 1
    batch = {"tokens": ids, "original": ids, "segments": segments, "positions": np.arange(16)[None].repeat(2, 0),
             "weights": weights, "row": np.arange(2)}
    model = lm(attends="full")
    guess = model.model.apply({"params": model.params}, ids, segments, batch["positions"]).argmax(-1)[0, 2]
    first, second = samples.write(model, [batch], EVALS, 0).rstrip("\n").split("\n\n---\n\n")
    shown = TOKENIZER.decode([int(guess)])
    assert first == f"th[{shown}|e] cat" and second == "sat"


def test_an_encoder_decoder_answers_the_first_sources():
    (source, source_segments), (target, target_segments) = rows(b"one", b"two", b""), rows(b"1", b"2", b"")
    batch = {"encoder_tokens": source, "encoder_segments": source_segments, "targets": target,
             "segments": target_segments}
    shown = samples.write(lm(encoder_layers=1), [batch], EVALS, 0).split("\n\n---\n\n")
    assert len(shown) == 2 and shown[0].startswith("one\n=> ") and shown[1].rstrip("\n").endswith("(is 2)")


def test_a_chat_is_shown_with_the_reply_that_is_there():
    chatting = tokenizers.chatting(tokenizers.extend(Bytes(), ("system", "user", "assistant")))
    model = models.build("transformer", vocab_size=chatting.vocab_size, context=16, width=8, layers=1, heads=2)
    params = nn.meta.unbox(transformer.init(model, jax.random.key(0)))
    config = run.complete({"model": {"name": "transformer"}, "objective": {"name": "dialogue"}}, {})
    text = [chatting.specials["user"], *b"hi", chatting.eod, chatting.specials["assistant"], *b"you", chatting.eod]
    batch = {name: np.zeros((3, 16), np.int32) for name in ("tokens", "targets", "segments")}
    batch |= {"weights": np.zeros((3, 16), np.float32), "row": np.arange(3, dtype=np.int32)}
    for b in (0, 2):  # a row of padding between them
        batch["tokens"][b, :8], batch["targets"][b, :8], batch["segments"][b, :8] = text[:-1], text[1:], 1
        batch["weights"][b, 4:8] = 1
    told = samples.write(run.LM(model, params, chatting, config, 0), [batch], EVALS, 0).split("\n\n---\n\n")
    assert len(told) == 2
    for one in told:
        assert one.startswith("<user>hi<assistant>\n=> ") and one.rstrip().endswith("(is you)")
