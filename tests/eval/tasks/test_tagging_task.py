"""The task of tags: its figures against the metrics on whole lists of tags, scikit-learn's, and counting by hand."""

import random

import pytest

from lmlab import run
from lmlab.data.formats.tagged import iob2, tagged
from lmlab.decoding import tagging as decoding
from lmlab.eval import tasks
from lmlab.eval.metrics import tagging as metrics
from lmlab.eval.tasks import tagging

ENTITIES, SPEECH = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O"), ("IN", "NN", "VB")
WORDS = [f"w{i}" for i in range(12)]


def drawn(seed, labels, count=60):
    """Examples of random words and tags, those of entities in IOB2."""
    pick = random.Random(seed)
    for _ in range(count):
        words = pick.choices(WORDS, k=pick.randint(1, 9))
        yield tagged(words, pick.choices(labels, k=len(words)))


@pytest.fixture
def measured(monkeypatch):
    """(labels) -> (report, train, held, what the model says), of a model that is right two times of three."""
    def score(labels, held_labels=None):
        train, held = list(drawn(0, labels)), list(drawn(1, held_labels or labels))
        pick = random.Random(2)
        said = [[tag if pick.random() < 0.67 else pick.choice(labels) for tag in one["tags"]] for one in held]
        answers = {one["text"]: tags for one, tags in zip(held, said)}

        def tag(lm, texts, words):
            return [decoding.Tagged(places, answers[text], []) for text, places in zip(texts, words, strict=True)]
        monkeypatch.setattr(decoding, "tag", tag)
        monkeypatch.setattr(tasks, "TRIALS", 20)
        config = run.complete({"model": {"name": "transformer"}, "objective": {"name": "tagging"}}, {})
        lm = run.LM(None, {}, None, config, 0, labels)
        return tasks.measure(tagging.task(lm), train, held), train, held, [answers[one["text"]] for one in held]
    return score


def by_hand(train, held, unknown):
    """The most frequent tag of each word in training."""
    pairs = [(one["text"][start:end], tag) for one in train for (start, end), tag in zip(one["words"], one["tags"])]
    found = {}
    for word in WORDS:
        tags = [tag for other, tag in pairs if other == word]
        found[word] = max(tags, key=lambda tag: (tags.count(tag), -tags.index(tag)))
    return [[found.get(one["text"][start:end], unknown) for start, end in one["words"]] for one in held]


def test_figures_of_entities_are_those_of_the_metrics(measured):
    report, train, held, said = measured(ENTITIES)
    gold, usual = [one["tags"] for one in held], by_hand(train, held, "O")
    assert any(iob2(tags) != tags for tags in said)  # a stray I counts in conlleval alone
    for scores, tags in ((report["model"], said), (report["baselines"]["most frequent tag of a word"], usual)):
        strict, lenient = metrics.strict(gold, tags), metrics.conlleval(gold, tags)
        assert {name: score["value"] for name, score in scores.items()} == pytest.approx({
            "strict_f1": strict["f1"], "conlleval_f1": lenient["f1"], "partial_f1": metrics.partial(gold, tags)["f1"],
            "accuracy": lenient["accuracy"]})
        assert all(score["low"] <= score["value"] <= score["high"] for score in scores.values())
    strict, usual = metrics.strict(gold, said), metrics.strict(gold, usual)
    count = lambda kind: sum(tag == f"B-{kind}" for tags in gold for tag in tags)
    assert report["parts"] == {kind: {"items": count(kind), "strict_f1": pytest.approx(strict[f"f1/{kind}"])}
                               for kind in ("LOC", "PER")}
    assert report["difference"]["strict_f1"]["most frequent tag of a word"]["value"] == pytest.approx(
        strict["f1"] - usual["f1"])
    order = sorted(range(len(held)), key=lambda place: len(held[place]["text"]))[:15]
    assert report["slices"]["shortest quarter"] == {"examples": 15, "strict_f1": pytest.approx(
        metrics.strict([gold[place] for place in order], [said[place] for place in order])["f1"])}
    assert "LOC (" in tasks.table(report)


def test_figures_of_speech_are_scikit_learn_s(measured):
    sklearn = pytest.importorskip("sklearn.metrics")
    report, train, held, said = measured(SPEECH, (*SPEECH, "UH"))  # a tag that the model does not know
    flat = lambda column: [tag for tags in column for tag in tags]
    gold = flat(one["tags"] for one in held)
    for scores, tags in ((report["model"], said), (report["baselines"]["most frequent tag of a word"],
                                                    by_hand(train, held, "NN"))):
        assert scores["accuracy"]["value"] == pytest.approx(sklearn.accuracy_score(gold, flat(tags)))
        assert scores["macro_f1"]["value"] == pytest.approx(sklearn.f1_score(gold, flat(tags), average="macro"))
    recalls = sklearn.recall_score(gold, flat(said), average=None, labels=SPEECH)
    assert report["parts"] == {name: {"items": gold.count(name), "accuracy": pytest.approx(recall)}
                               for name, recall in zip(SPEECH, recalls)}


def test_words_that_are_new_have_the_tag_that_is_most_frequent():
    train = [tagged(["a", "b", "a", "a"], ["X", "Y", "X", "Y"])]
    held = [tagged(["a", "b", "c"], ["Y", "Y", "Y"])]
    assert tagging.most_frequent([*train, tagged(["b"], ["Y"])], held) == [["X", "Y", "Y"]]
    assert tagging.most_frequent(train, held, "O") == [["X", "Y", "O"]]


def test_tags_that_the_model_does_not_know_are_compared_too():
    said = tagging._words(SPEECH, [["NN", "UH", "NEW"]], [["NEW", "NN", "NEW"]])
    assert said[0].tolist() == [[1, 3], [4, 1], [3, 3]] and tagging.WORDS["accuracy"](said) == pytest.approx(1 / 3)
