"""The report on preferences: accuracies by hand, the network beside the one it began from."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from sklearn import metrics

from lmlab import models, run
from lmlab.data import tokenizers
from lmlab.data.tokenizers import extended, plain
from lmlab.eval import tasks
from lmlab.eval.tasks import preference
from lmlab.models import transformer

TOKENIZER = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
ANSWERS = [("b", "cde"), ("", "xyz"), ("no", "q"), ("1234", "5"), ("Zz", "!?"), ("~", "}{"), ("k", "mmmm")]
PAIRS = [{"prompt": [{"role": "user", "content": "a" * n}], "chosen": chosen, "rejected": rejected}
         for n, (chosen, rejected) in enumerate(ANSWERS, 1)]
ALONE = [{"prompt": one["prompt"], "completion": one[name], "good": name == "chosen"} for one in PAIRS
         for name in ("chosen", "rejected")]


@pytest.fixture(scope="module")
def made(lively):
    """kind -> (the model, the one that it began from)."""
    model = models.build("transformer", vocab_size=TOKENIZER.vocab_size, context=48, width=8, layers=1, heads=2)
    params = nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0)))

    def both(kind):
        config = run.complete({"model": {"name": "transformer"}, "init_from": "start",
                               "objective": {"name": "preference", "kind": kind}}, {})
        return [run.LM(model, lively(params, seed=seed), TOKENIZER, config, 0) for seed in (0, 1)]
    return both


def log_p(lm, prompt, answer):
    """(sum of log p, tokens) of an answer."""
    prompt, answer = [258, *prompt.encode(), 256, 259], [*answer.encode(), 256]
    tokens = np.zeros((1, 48), np.int32)
    tokens[0, :len(prompt + answer)] = prompt + answer
    logits = np.float64(lm.model.apply({"params": lm.params}, tokens))[0]
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(table[len(prompt) + i - 1, token] for i, token in enumerate(answer)), len(answer)


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_pairs(kind, made, monkeypatch):
    lm, start = made(kind)
    monkeypatch.setattr(run, "load", lambda source: {"start": start}[source])
    report = tasks.measure(tasks.find("preference").task(lm), PAIRS, PAIRS)
    right = {"model": [], "before training": []}
    for one in PAIRS:
        texts = [(one["prompt"][0]["content"], one[name]) for name in ("chosen", "rejected")]
        mine, theirs = ([log_p(each, *text) for text in texts] for each in (lm, start))
        mean = lambda sums: sums[0][0] / sums[0][1] > sums[1][0] / sums[1][1]
        ratio = [m[0] - t[0] for m, t in zip(mine, theirs)]
        right["model"].append(ratio[0] > ratio[1] if kind == "dpo" else mean(mine))
        right["before training"].append(mean(theirs))
    assert report["model"]["accuracy"]["value"] == pytest.approx(np.mean(right["model"]))
    others = report["baselines"]
    assert others["before training"]["accuracy"]["value"] == pytest.approx(np.mean(right["before training"]))
    assert others["before training"]["kl"]["value"] == 0 < report["model"]["kl"]["value"]
    assert others["longer answer"]["accuracy"]["value"] == pytest.approx((2 + 1 / 2) / 7)  # a pair is of one length
    assert np.isnan(others["longer answer"]["kl"]["value"])


def test_answers_alone(made, monkeypatch):
    lm, start = made("kto")
    monkeypatch.setattr(run, "load", lambda source: {"start": start}[source])
    report = tasks.measure(tasks.find("preference").task(lm), ALONE, ALONE)
    good = [one["good"] for one in ALONE]
    ratio = [log_p(lm, one["prompt"][0]["content"], one["completion"])[0]
             - log_p(start, one["prompt"][0]["content"], one["completion"])[0] for one in ALONE]
    assert report["model"]["accuracy"]["value"] == pytest.approx(metrics.roc_auc_score(good, ratio))
    lengths = [len(one["completion"]) for one in ALONE]
    longer = report["baselines"]["longer answer"]["accuracy"]["value"]
    assert longer == pytest.approx(metrics.roc_auc_score(good, lengths))
    assert np.isnan(preference._accuracy(np.ones((2, 2)), [True, True]))


def test_without_a_start_there_is_nothing_to_be_far_from(made):
    lm, _ = made("orpo")
    with lm.config.unlocked():
        lm.config.init_from = ""
    report = tasks.measure(tasks.find("preference").task(lm), PAIRS, PAIRS)
    assert list(report["baselines"]) == ["longer answer"] and np.isnan(report["model"]["kl"]["value"])
