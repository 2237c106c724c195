"""Silent faults that other projects have on record, in scoring and in making text (test_on_record.py: in training)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmlab
from lmlab import models, objectives, run
from lmlab.data import loader, store
from lmlab.data.corpus import Corpus
from lmlab.data.features import Rows, causal
from lmlab.data.tokenizers.plain import Bytes
from lmlab.decoding import cached, sampling
from lmlab.eval import perplexity
from lmlab.models import transformer
from lmlab.utils.errors import UserError


# --- scores ---

def by_counts(length, batch, documents, folder):
    """Scores of a model that gives every token its share of the text, in windows of `length`; and tokens' counts."""
    corpus = Corpus("few", "none", ("train",), "f", {"train": len(documents)}, lambda _: iter(documents))
    split = store.open_split(store.prepare(corpus, Bytes(), folder / "tokens"), "train")
    model = models.build("transformer", vocab_size=257, context=length, width=8, layers=1, heads=1, head_bias=True)
    params = jax.tree.map(jnp.zeros_like, nn.meta.unbox(transformer.init(model, jax.random.key(0))))
    counts = np.bincount(split.tokens[1:], minlength=257)
    shares = np.maximum(counts, 1e-9) / counts.sum()
    params["head_bias"] = jnp.log(shares).astype(jnp.float32)
    batches = loader.eval_batches(causal.features(split, Bytes(), length=length, windows="stream"), batch=batch)
    return perplexity.evaluator(model, objectives.build("causal", vocab_size=257), batches, split.meta)(params), counts


@pytest.mark.parametrize("length,batch", [(5, 3), (16, 4), (100, 1)])
def test_a_perplexity_that_hangs_on_windows_or_on_the_unit(length, batch, tmp_path):
    """transformers #13761, lm-eval #2301: means of windows were averaged; a token's was compared with a word's.

    Each token is counted once, whatever the windows, and the short last one, whose tokens are rare, weighs what it
    holds: the entropy of the counts, in a closed form. A token, a word and a byte then each have theirs of one sum.
    """
    documents = ["a a a a a a a a b a a a a a a", "春 眠 不 觉  晓", "zq"]
    found, counts = by_counts(length, batch, documents, tmp_path)
    p = counts[counts > 0] / counts.sum()
    nats = -(p * np.log(p)).sum() * counts.sum()
    words, size = sum(len(d.split()) for d in documents), sum(len(d.encode()) for d in documents)
    assert found["tokens"] == counts.sum() == size + len(documents)
    expected = {"perplexity": np.exp(nats / counts.sum()), "word_perplexity": np.exp(nats / words),
                "bits_per_byte": nats / np.log(2) / size}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_a_validation_with_fewer_rows_for_some_than_for_others(processes):
    """torchtitan #1618: processes whose data ended earlier left the others waiting for their part of a sum.

    For any number of rows, fewer than processes too, each process has as many batches, of the same shape, and the sum
    over all of them is that of the rows.
    """
    score = lambda _, batch: {"loss": (batch["value"].sum(), float((batch["value"] > 0).sum()))}
    for count in range(1, 26):
        rows = Rows(count, lambda numbers, epochs, seed: {"value": np.where(numbers < 0, 0, numbers + 1)})
        shares = [loader.eval_batches(rows, batch=12, process=p, processes=processes) for p in range(processes)]
        assert {(len(share), share[i]["value"].shape) for share in shares for i in range(len(share))} == {
            (-(-count // 12), (12 // processes,))}
        sums = [perplexity.totals(score, None, share)["loss"] for share in shares]
        assert tuple(map(sum, zip(*sums))) == (count * (count + 1) / 2, count)


# --- texts ---

@pytest.fixture(scope="module")
def lm(lively):
    """A byte model with random parameters that likes the byte 0, whose id padding has."""
    model = models.build("transformer", vocab_size=257, context=24, width=16, layers=1, heads=2, positions="rotary",
                         head_bias=True)
    params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()), 0.5)
    params["head_bias"][0] = 6
    return run.LM(model, params, Bytes(), None, 0)


@pytest.mark.parametrize("settings", [dict(temperature=0, repetition_penalty=3.0), dict(beams=3)], ids=str)
def test_a_left_padded_batch_that_differs_from_each_prompt_alone(lm, settings, monkeypatch):
    """transformers #22707, #30378, unsloth #3699: padding moved the positions, was attended to, or counted as seen.

    Alone, a prompt is not padded at all here.
    """
    prompts = ["b", "\0", "a much longer prompt", "the longest prompt of all is over the context"]
    together = lmlab.generate(lm, prompts, max_new_tokens=12, **settings)
    monkeypatch.setattr(cached, "BUCKET", 1)
    assert together == [lmlab.generate(lm, prompt, max_new_tokens=12, **settings) for prompt in prompts]
    assert len(set(together)) > 1


EXTREMES = (999999, -1, 0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"), 2 ** 63, -2 ** 63, 10 ** 400, True,
            None, "1", [1])


def test_a_sampling_parameter_that_kills(lm):
    """llama.cpp #19367: temperature 999999 with top_p -1 ended the server.

    Each extreme of each parameter, alone and beside that pair, is one line or a text; and the next call is answered.
    """
    usual = lmlab.generate(lm, "a", max_new_tokens=4)
    refused = 0
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"):
        for value in EXTREMES:
            for more in ({}, {"temperature": 999999, "top_p": -1}):
                try:
                    assert isinstance(lmlab.generate(lm, "a", max_new_tokens=1, **{**more, name: value}), str)
                except UserError as error:
                    refused += 1
                    assert "\n" not in str(error) and any(key in str(error) for key in (name, *more))
    assert refused > 100 and lmlab.generate(lm, "a", max_new_tokens=4) == usual


def test_one_request_for_a_huge_number(lm):
    """CVE-2026-34756, as far as there is one to ask: what is asked for is not made room for before it is there."""
    rows = cached.Rows(lm.model, lm.params, [[1, 2, 3]], 2 ** 31)
    rows.unread(2 ** 31)
    assert max(leaf.size for leaf in jax.tree.leaves(rows.cache)) <= 2 * cached.BUCKET * 16
    tokens = cached.continuations(lm.model, lm.params, [[1, 2, 3]], sampling.Sampler(), count=2 ** 31)
    assert [len(next(tokens)) for _ in range(3)] == [1, 1, 1]
    for more in (dict(max_new_tokens=2 ** 31 + 1), dict(beams=10 ** 9), dict(beams=1001)):
        with pytest.raises(UserError, match="must be a whole number between"):
            lmlab.generate(lm, "a", **more)
