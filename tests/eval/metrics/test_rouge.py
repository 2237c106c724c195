"""ROUGE against rouge-score, on words drawn at random from few; other scripts by hand."""

import random

import pytest

from lmlab.eval.metrics import rouge

WORDS = ["The", "cat", "sat", "on", "mat", "naïve", "don't", "42", "cat,", "", "well-known", "é", "ve", "Ünder_score"]
NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def drawn(rng):
    return "\n".join(" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(rng.randint(1, 4)))


@pytest.mark.parametrize("seed", range(60))
def test_as_rouge_score(seed):
    """On Latin text, with several references: it takes the one with the best F-measure, and so do we."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(NAMES, use_stemmer=False)
    rng = random.Random(seed)
    references, found = [drawn(rng) for _ in range(rng.randint(1, 3))], drawn(rng)
    ours = rouge.scores([references], [found])
    for name, score in scorer.score_multi(references, found).items():
        assert ours[name] == pytest.approx(100 * score.fmeasure)
        assert ours[f"{name}/precision"] == pytest.approx(100 * score.precision)
        assert ours[f"{name}/recall"] == pytest.approx(100 * score.recall)
    assert len(ours) == 12


def test_the_example_of_the_paper():
    """Lin 2004, section 3.1, "police killed the gunman": ROUGE-L 3/4 and 2/4, though ROUGE-2 is the same of both."""
    gold, one, other = "police killed the gunman", "police kill the gunman", "the gunman kill police"
    scores = rouge.each([[gold], [gold]], [one, other])
    assert scores["rougeL"].tolist() == [75, 50] and scores["rouge2"][0] == scores["rouge2"][1]


def test_the_union_of_the_paper():
    """Lin 2004, section 3.2: w1 w2 w3 w4 w5 against w1 w2 w6 w7 w8 and w1 w3 w8 w9 w5: four of five."""
    scores = rouge.scores([["w1 w2 w3 w4 w5"]], ["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"])
    assert scores["rougeLsum/recall"] == pytest.approx(80)


@pytest.mark.parametrize("text", ["今天天气很好。", "東京タワー", "Это хорошо", "한국어 문장", "GPT-2 有参数"])
def test_identical_text_of_any_script(text):
    scores = rouge.scores([[text]], [text])
    assert all(value == 100 for value in scores.values())


def test_characters_by_hand():
    """Of 6 and 5 characters 4 are shared, 3 of the pairs 天天, 天气, 气很, ...; in order 4."""
    assert rouge.words("今天GPT-2 好。Да") == ["今", "天", "gpt", "2", "好", "да"]
    scores = rouge.scores([["今天天气很好"]], ["天气很好吗"])
    assert [scores[name] for name in NAMES] == pytest.approx([800 / 11, 600 / 9, 800 / 11, 800 / 11])


def test_nothing_to_share():
    assert set(rouge.scores([["", "。"]], ["cat"]).values()) == {0.0} == set(rouge.scores([["cat"]], [""]).values())
