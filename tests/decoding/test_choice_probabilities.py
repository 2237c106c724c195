"""The probabilities of choices against each choice scored alone, by a head and by a language model."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import asking
from lmlab import models, run
from lmlab.data.features import choices
from lmlab.decoding.multiple_choice import likelihoods, probabilities
from lmlab.models import transformer
from lmlab.utils.errors import UserError

READS = asking.tokenizer("bytes")
ASKED = [{"question": "Who?", "choices": ["Ada", "no one at all", "谁"]}, {"question": "x", "choices": ["a", "b"]},
         {"question": "When?", "context": "In 1843.", "choices": ["in 1843", "never"]}]


@pytest.fixture(scope="module")
def decoder(lively):
    """A random decoder without a head, of a context of 24."""
    model = models.build("transformer", vocab_size=READS.vocab_size, context=24, width=16, layers=1, heads=2)
    params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()), scale=0.5)
    config = run.complete({"model": {"name": "transformer"}, "objective": {"name": "causal"}}, {})
    return run.LM(model, params, READS, config, 0)


def test_a_head_scores_each_choice_as_if_it_were_alone(lively):
    lm = asking.model("multiple_choice", READS, lively)
    for one, framed, p_C in zip(ASKED, choices.encode(READS, ASKED, 64), probabilities(lm, ASKED), strict=True):
        exps = np.exp([asking.alone(lm, choice.ids, choice.types)[0] for choice in framed])
        assert p_C == pytest.approx(exps / exps.sum(), rel=1e-4)
        assert probabilities(lm, [one])[0] == pytest.approx(p_C, rel=1e-4)
    assert probabilities(lm, []) == []


def test_a_language_model_tells_how_likely_each_choice_is(decoder):
    """Token by token, each from all before it; a text that is too long loses its beginning."""
    @jax.jit
    def forward(ids):
        return decoder.model.apply({"params": decoder.params}, ids)

    for one, said, p_C in zip(ASKED, likelihoods(decoder, ASKED), probabilities(decoder, ASKED), strict=True):
        prompt = ([*one["context"].encode(), *b" "] if "context" in one else []) + [*one["question"].encode()]
        for choice, found in zip(one["choices"], said, strict=True):
            ids = [READS.eod, *prompt, *f" {choice}".encode()]
            ids, count = ids[-24:], len(f" {choice}".encode())
            row = np.zeros((1, 24), np.int32)
            row[0, :len(ids)] = ids
            log_p = np.asarray(jax.nn.log_softmax(forward(row)[0]))
            each = [log_p[at - 1, ids[at]] for at in range(len(ids) - count, len(ids))]
            assert found == pytest.approx(np.mean(each), rel=1e-4)
        assert p_C == pytest.approx(np.exp(said) / np.exp(said).sum())


def test_a_model_that_can_tell_nothing_is_refused(lively):
    encoder = asking.model("multiple_choice", READS, lively)
    bare = run.LM(encoder.model.body, encoder.params["body"], READS, encoder.config, 0)
    with pytest.raises(UserError, match="only a decoder tells how likely a choice is"):
        probabilities(bare, ASKED)
    with pytest.raises(UserError, match="trained for config.objective.name=question_answering.*for multiple_choice"):
        probabilities(asking.model("question_answering", READS, lively), ASKED)
