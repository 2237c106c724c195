"""Supervised dialogue: the mean over the answers' tokens, by a softmax written out, packed or not."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.data import loader, tokenizers
from lmlab.data.examples import Split
from lmlab.data.features import dialogue
from lmlab.data.tokenizers import extended, plain
from lmlab.models import transformer
from lmlab.utils.errors import UserError

TOKENIZER = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
TALKS = [["ab", "c", "d", "efg"], ["hi", "ho"], ["a" * 20, "b"]]


def test_the_loss_is_that_of_the_answers_alone(lively):
    model = models.build("transformer", vocab_size=TOKENIZER.vocab_size, context=64, width=8, layers=1, heads=2)
    params = lively(nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0))))
    nats = count = 0
    for said in TALKS:
        ids, learned = [], []
        for turn, text in enumerate(said):
            ids += [258 + turn % 2, *text.encode(), 256]
            learned += [False, *[turn % 2 == 1] * (len(text) + 1)]
        logits = np.float64(model.apply({"params": params}, np.array([ids])))[0]
        for t in range(1, len(ids)):
            if learned[t]:
                nats -= logits[t - 1, ids[t]] - np.log(np.exp(logits[t - 1]).sum())
                count += 1
    role = ("user", "assistant")
    examples = [{"messages": [{"role": role[turn % 2], "content": text} for turn, text in enumerate(said)]}
                for said in TALKS]
    for windows in ("packed", "stream"):
        rows = dialogue.features(Split(examples, {"name": "talk"}, "train"), TOKENIZER, length=64, windows=windows)
        batch = loader.eval_batches(rows, batch=4)[0]
        terms, metrics = objectives.build("dialogue", vocab_size=TOKENIZER.vocab_size)(model.apply, params, batch)
        assert terms["loss"] == pytest.approx((nats, count), rel=1e-5) and metrics["accuracy"][1] == count == 11


def test_an_encoder_is_refused():
    spec = models.build("transformer", vocab_size=2, context=8, width=8, layers=1, heads=2, attends="full").spec
    with pytest.raises(UserError, match="attends='full' does not go with config.objective.name='dialogue'"):
        objectives.find("dialogue").check(spec)
