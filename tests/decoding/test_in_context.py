"""Labels by examples in the prompt: each prompt whole and alone, and what calibration does, written out."""

import jax
import numpy as np
import pytest

import tasks as models
from lmlab.decoding import in_context
from lmlab.eval import tasks
from lmlab.eval.tasks import in_context as task
from lmlab.utils.errors import UserError

SHOWN = [("a cat", "animals"), ("france", "towns")]
TEXTS = ["the dog ran", "paris", "a", "the cat sat on mat in park"] * 5  # more than one batch of rows


@pytest.fixture(scope="module")
def lm():
    return models.model("decoder")


def alone(lm, shown, text, label):
    """log p(label | prompt), the prompt read whole."""
    begin = [lm.tokenizer.specials["bos"]] if "bos" in lm.tokenizer.specials else [lm.tokenizer.eod]
    shown = lm.tokenizer.encode("".join(f"Text: {one}\nLabel: {name}\n\n" for one, name in shown))
    asked, said = lm.tokenizer.encode(f"Text: {text}\nLabel:"), lm.tokenizer.encode(f" {label}")
    ids = [*(i for i in begin if i >= 0), *shown, *asked, *said]
    logits = np.float64(lm.model.apply({"params": lm.params}, np.array([ids])))[0]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(log_p[at - 1, ids[at]] for at in range(len(ids) - len(said), len(ids)))


@pytest.mark.parametrize("shown", [SHOWN, pytest.param([], marks=pytest.mark.slow)])
def test_the_prompt_read_once_is_each_prompt_alone(lm, shown):
    found = in_context.log_likelihoods(lm, shown, TEXTS, models.LABELS)
    wanted = [[alone(lm, shown, text, label) for label in models.LABELS] for text in TEXTS[:4]]
    np.testing.assert_allclose(found, np.tile(wanted, (5, 1)), atol=1e-3)


def test_a_label_is_told_by_how_much_likelier_it_is_than_for_nothing(lm):
    p = lambda text: jax.nn.softmax(np.array([alone(lm, SHOWN, text, label) for label in models.LABELS]))
    nothing = np.mean([p(text) for text in ("N/A", "[MASK]", "")], axis=0)
    wanted = np.array([p(text) / nothing for text in TEXTS[:4]])
    found = in_context.probabilities(lm, SHOWN, TEXTS[:4], models.LABELS)
    np.testing.assert_allclose(found, wanted / wanted.sum(-1, keepdims=True), atol=1e-3)


def test_a_long_text_loses_its_end(lm):
    found = in_context.log_likelihoods(lm, [], ["a cat " * 60, "a cat " * 90], models.LABELS)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    with pytest.raises(UserError, match=r"the 30 examples that are shown have \d+ tokens, and the model reads 64"):
        in_context.log_likelihoods(lm, SHOWN * 15, TEXTS, models.LABELS)


def test_as_many_of_each_label_are_shown():
    train = [{"text": f"{n}", "label": "ab"[n % 3 == 0]} for n in range(12)] + [{"text": "x", "label": "c"}]
    shown = task.few(train, 2)
    assert sorted(one["text"] for one in shown) == ["0", "1", "2", "3", "x"] and shown == task.few(train, 2)
    assert task.few(train, 0) == []


def test_the_report_stands_beside_the_same_few(lm, monkeypatch):
    monkeypatch.setattr(tasks, "TRIALS", 3)
    train = [{"text": "a cat", "label": "animals"}, {"text": "paris", "label": "towns"},
             {"text": "mat", "label": "animals"}]
    held = [{"text": "a cat", "label": "animals"}, {"text": "paris", "label": "towns"}]
    report = tasks.measure(task.task(lm, shots=1), train, held)
    assert report["baselines"]["TF-IDF, the same examples"]["accuracy"]["value"] == 1
    assert report["baselines"]["majority"]["accuracy"]["value"] == 0.5
    assert [*tasks.measure(task.task(lm, shots=0), train, held)["baselines"]] == ["majority"]
    metrics = pytest.importorskip("sklearn.metrics")
    gold, said = list("aabbc"), list("abbbb")
    assert task.STATISTICS["macro_f1"](said, gold) == pytest.approx(metrics.f1_score(gold, said, average="macro"))
    assert task.STATISTICS["accuracy"](said, gold) == 0.6
