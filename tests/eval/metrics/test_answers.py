"""Answers against the evaluation of SQuAD as transformers 4 carries it, its rules by hand, and all thresholds."""

import random

import numpy as np
import pytest

from lmlab.eval.metrics import answers

WORDS = ["the", "a", "Denver", "Broncos", "broncos,", "1-2", "12", "an", "U.S.", "naïve", "“so”", "  "]


def drawn(seed, count=30):
    """Gold answers (of a third none), predictions (some empty) and how much speaks for no answer."""
    rng = random.Random(seed)
    # Something is left of each text: SQuAD's own best threshold takes a bare article for an answer, its scores do not.
    text = lambda: " ".join([*rng.choices(WORDS, k=rng.randint(0, 3)), rng.choice(["Denver", "Broncos"])])
    gold = [[text() for _ in range(rng.randint(1, 3))] if rng.random() < 0.7 else [] for _ in range(count)]
    found = [rng.choice(texts) if texts and rng.random() < 0.4 else text() if rng.random() < 0.7 else ""
             for texts in gold]
    return gold, found, [rng.uniform(-1, 1) for _ in gold]


@pytest.mark.parametrize("seed", range(10))
def test_as_transformers(seed):
    """transformers 5 has it no more; there the rest of this file must do."""
    squad = pytest.importorskip("transformers.data.metrics.squad_metrics")
    from transformers.data.processors.squad import SquadExample
    gold, found, no_answer = drawn(seed)
    examples = [SquadExample(str(i), "", "", None, None, "", answers=[{"text": text} for text in texts],
                             is_impossible=not texts) for i, texts in enumerate(gold)]
    exact, f1 = squad.get_raw_scores(examples, dict(zip(map(str, range(len(gold))), found)))
    scores = answers.each(gold, found)
    assert scores["exact_match"].tolist() == list(exact.values()) and scores["f1"] == pytest.approx(list(f1.values()))
    by_id = lambda values: dict(zip(map(str, range(len(gold))), values))
    ours = answers.best_thresholds(gold, found, no_answer)
    for name, raw in (("exact_match", exact), ("f1", f1)):
        best, threshold = squad.find_best_thresh(by_id(found), raw, by_id(no_answer), by_id(map(bool, gold)))
        assert ours[f"best_{name}"] == pytest.approx(best / 100)
        assert threshold in (0.0, ours[f"best_{name}_threshold"])  # it says 0 for giving none at all


@pytest.mark.parametrize("gold, text, exact, f1", [
    (["Denver Broncos"], "the Denver Broncos.", 1, 1), (["Denver Broncos"], "Broncos", 0, 2 / 3),
    (["Carolina", "Denver Broncos"], "denver   broncos", 1, 1), (["an apple a day"], "Apple day", 1, 1),
    (["theatre"], "atre", 0, 0), (["a b b"], "b c b b", 0, 2 * 2 / 6), (["1,000"], "1000", 1, 1),
    ([], "", 1, 1), ([], "Denver", 0, 0), (["Denver"], "", 0, 0), (["the"], "", 1, 1), (["the", "Denver"], "", 0, 0),
    (["naïve"], "naive", 0, 0), (["“so”"], "so", 0, 0)])
def test_by_hand(gold, text, exact, f1):
    """By the rules of the two papers; ([], ...) cannot be answered."""
    assert answers.scores([gold], [text]) == pytest.approx({"exact_match": exact, "f1": f1})


@pytest.mark.parametrize("gold, text, exact, f1", [
    ("《红楼梦》", "红楼梦", 1, 1), ("“红楼梦”。", "红楼梦", 1, 1), ("一九四九年", "一九四九年十月", 0, 2 * 5 / 12),
    ("清华大学", "北京大学", 0, 0.5), ("iPhone 15 手机", "iphone 手机", 0, 2 * 3 / 7), ("ＡＢＣ大学", "ABC大学", 0, 2 * 2 / 6),
    ("東京タワー", "東京タワー", 1, 1)])
def test_characters_are_words(gold, text, exact, f1):
    """(shared characters and words) x 2 / (of both), counted by hand."""
    assert answers.scores([[gold]], [text]) == pytest.approx({"exact_match": exact, "f1": f1})


def test_each_kind_of_question():
    scores = answers.scores([["a cat"], ["dog"], [], []], ["cat", "fox", "", "fox"])
    assert scores == {"exact_match": 0.5, "f1": 0.5, "exact_match/answerable": 0.5, "f1/answerable": 0.5,
                      "exact_match/unanswerable": 0.5, "f1/unanswerable": 0.5}


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better(seed):
    """All of them tried, with many equal values: the scores are had at the thresholds that are said."""
    gold, found, _ = drawn(seed, count=12)
    no_answer = np.random.default_rng(seed).integers(-2, 3, len(gold))
    at = lambda threshold: answers.scores(gold, [text if value <= threshold else ""
                                                 for text, value in zip(found, no_answer)])
    best = answers.best_thresholds(gold, found, no_answer)
    for name in ("exact_match", "f1"):
        assert at(best[f"best_{name}_threshold"])[name] == pytest.approx(best[f"best_{name}"])
        assert best[f"best_{name}"] == pytest.approx(max(at(t)[name] for t in [-9, *no_answer]))
