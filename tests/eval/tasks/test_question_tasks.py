"""Answers and choices measured beside their baselines: against the metrics, and trivial systems by hand."""

import numpy as np
import pytest

import asking
from lmlab.decoding.multiple_choice import probabilities
from lmlab.decoding.question_answering import answers
from lmlab.eval import tasks
from lmlab.eval.metrics import answers as metrics
from lmlab.eval.tasks import multiple_choice, question_answering

READS = asking.tokenizer("bytes")
PLACES = ("Rome", "Paris", "Oslo", "Bonn")
HELD = [asking.question(f"Ada lives in {place} now.", *((13, 13 + len(place)) if number % 4 else ()),
                        text=("Where does Ada live?", "who lives in Rome?", "谁？", "Why?")[number])
        for number, place in enumerate(PLACES)]
CHOSEN = [{"question": "Is it a cat?", "choices": ["a dog that barks", "a cat"], "answer": 0},
          {"question": "Is it red?", "choices": ["no", "blue", "it is red"], "answer": 1},
          {"question": "Who?", "context": "It was Ada.", "choices": ["Bo Bo", "Ada"], "answer": 1}]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few draws of the bootstrap."""
    monkeypatch.setattr(tasks, "TRIALS", 20)


def test_answers_are_measured_as_squad_does(lively):
    lm = asking.model("question_answering", READS, lively)
    report = tasks.measure(question_answering.task(lm), HELD, HELD)
    said = [best for (best,) in answers(lm, [(one["question"], one["context"]) for one in HELD])]
    gold = [[answer["text"] for answer in one["answers"]] for one in HELD]
    given = [best["text"] if best["score"] >= best["no_answer_score"] else "" for best in said]
    expected = metrics.scores(gold, given)
    assert {name: report["model"][name]["value"] for name in ("f1", "exact_match")} == {
        name: pytest.approx(expected[name]) for name in ("f1", "exact_match")}
    best = metrics.best_thresholds(gold, [one["text"] for one in said],
                                   [one["no_answer_score"] / one["score"] for one in said])
    assert report["model"]["best_f1"]["value"] == pytest.approx(best["best_f1"])
    assert report["baselines"]["no answer"]["f1"]["value"] == 0.25  # one of the four has none
    assert {name: part["examples"] for name, part in report["slices"].items()} == {
        "answerable": 3, "not answerable": 1, "where": 1, "who": 1, "谁": 1, "why": 1}
    assert report["slices"]["answerable"]["f1"] == pytest.approx(expected["f1/answerable"])
    assert "sliding window" in tasks.table(report)


def test_the_sliding_window_answers_as_shortly_as_training_does_and_learns_when_not_to(lively):
    """In training what shares no word with the question has no answer: so it is said of what is held out."""
    contexts = ["In 1843 Ada built towers", "Nothing is said here"]
    train = [asking.question(contexts[0], 0, 7, text="When Ada built towers?"),
             asking.question(contexts[1], text="Who sang songs?")] * 5
    held = [asking.question("In 1950 Bo wrote books", 0, 7, text="When Bo wrote books?"),
            asking.question("All that was forgotten", text="Who ate bread?")]
    task = question_answering.task(asking.model("question_answering", READS, lively))
    said = task.baselines["sliding window"](train, held)
    assert [text for text, _ in said][0] == "In 1950" and [no_answer > 0 for _, no_answer in said] == [False, True]
    assert task.statistics["exact_match"](said, *task.gold(held)) == 1.0


def test_choices_are_measured_beside_the_longest_and_the_nearest(lively):
    lm = asking.model("multiple_choice", READS, lively)
    report = tasks.measure(multiple_choice.task(lm), [], CHOSEN)
    right = [p_C.argmax() == one["answer"] for p_C, one in zip(probabilities(lm, CHOSEN), CHOSEN)]
    assert report["model"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert report["baselines"]["longest choice"]["accuracy"]["value"] == pytest.approx(1 / 3)  # a dog that barks
    assert report["baselines"]["word overlap"]["accuracy"]["value"] == pytest.approx(1 / 3)    # Ada
    assert {name: part["examples"] for name, part in report["slices"].items()} == {
        "the longest is right": 1, "another is right": 2, "2 choices": 2, "3 choices": 1}
