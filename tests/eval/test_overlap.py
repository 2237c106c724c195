"""Answers by counting words, by hand and by all windows tried."""

import math

import numpy as np
import pytest

from lmlab.eval import overlap


def test_words_are_words_and_chinese_characters():
    text = "Größe: It's 北京 2008."
    assert [word for word, *_ in overlap.words(text)] == ["größe", "it", "s", "北", "京", "2008"]
    assert all(text[start:end].lower() == word for word, start, end in overlap.words(text))


@pytest.mark.parametrize("question, context, size, answer", [
    ("When did Ada build the tower?", "Bo ate. In 1843 Ada build the tower. Bo slept all day, then ate.", 2, "In 1843"),
    ("Who wrote Hamlet?", "Hamlet, wrote Shakespeare; more is not known.", 1, "Shakespeare"),
    ("北京大学哪年成立？", "天气很好。北京大学1898年成立。他走了。", 1, "1898"),
    ("x?", "a", 9, "a"), ("?", "a b", 1, "a"), ("x?", "...", 1, "")])
def test_what_stands_beside_the_words_of_a_question(question, context, size, answer):
    assert overlap.sliding_window(question, context, size)[0] == answer


@pytest.mark.parametrize("seed", range(10))
def test_the_window_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    draw = lambda count: [f"w{i}" for i in rng.integers(0, 12, count)]
    context, question = draw(int(rng.integers(1, 40))), draw(int(rng.integers(1, 9)))
    asked, size = set(question), int(rng.integers(1, 5))
    text, share = overlap.sliding_window(" ".join(question), " ".join(context), size)
    worth = lambda word: math.log(1 + 1 / max(1, context.count(word))) if word in asked else 0.0
    width = min(len(asked), len(context))
    near = [sum(map(worth, context[start:start + width])) for start in range(len(context) - width + 1)]
    assert share == pytest.approx(min(1, max(near) / sum(map(worth, asked))))
    answer, best = text.split(), int(np.argmax(np.round(near, 9)))
    assert len(answer) == min(size, len(context))
    around = context[max(0, best - size):best + width + size]
    runs = [around[start:start + len(answer)] for start in range(len(around) - len(answer) + 1)]
    assert answer in runs and sum(map(worth, answer)) == pytest.approx(min(sum(map(worth, run)) for run in runs))


def test_shared_words():
    assert overlap.shared("the Red house", "a red car") == pytest.approx(1 / 3)
    assert overlap.shared("北京", "北方") == 0.5 and overlap.shared("", "a") == 0
