"""The tasks of relations and events: figures against the metrics on whole examples, baselines by hand."""

import itertools
import random
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from lmlab import run
from lmlab.decoding import headed, tagging
from lmlab.decoding import relations as decoding
from lmlab.eval import tasks
from lmlab.eval.metrics import relations as metrics
from lmlab.eval.tasks import relations
from lmlab.utils.errors import UserError

LABELS, WORDS = ("no_relation", "in", "of"), ("Ann", "Oslo", "Vik")


def drawn(seed, count=40, labels=LABELS[1:]):
    """Examples of words that are spans, some of them the heads of events, with random relations."""
    pick = random.Random(seed)
    for number in range(count):
        words = [str(number), *pick.choices(WORDS, k=pick.randint(0, 5))]
        starts = [sum(len(word) + 1 for word in words[:n]) for n in range(len(words))]
        spans = [{"start": start, "end": start + len(word), "label": pick.choice(("PER", "Meet"))}
                 for start, word in zip(starts, words)]
        pairs = [pair for pair in itertools.permutations(range(len(spans)), 2) if pick.random() < 0.3]
        yield {"text": " ".join(words), "spans": spans,
               "relations": [{"head": head, "tail": tail, "label": pick.choice(labels)} for head, tail in pairs]}


def model(heads="", **data):
    held = {"validation": 0.1, "test": 0.2, "folds": 0, "fold": 0} | data
    config = ConfigDict({"objective": {"name": "relations", "none": "no_relation", "heads": heads}, "data": held})
    return SimpleNamespace(labels=LABELS, config=config)


@pytest.fixture
def say(monkeypatch):
    """(heads, ...) -> what a model says of pairs of spans: something two times of three."""
    monkeypatch.setattr(tasks, "TRIALS", 20)

    def relations_of(lm, asked):
        pick = random.Random(3)
        return [[{"head": head, "tail": tail, "label": pick.choice(LABELS[1:])}
                 for head, tail in relations.pairs(spans, lm.config.objective.heads) if pick.random() < 0.67]
                for _, spans in asked]
    monkeypatch.setattr(decoding, "relations", relations_of)
    return relations_of


def test_figures_of_relations_are_those_of_the_metrics(say):
    train, held, lm = list(drawn(0)), list(drawn(1, labels=(*LABELS, "new"))), model()
    report = tasks.measure(relations.task(lm), train, held)
    found = say(lm, [(one["text"], one["spans"]) for one in held])
    said = [one | {"relations": each} for one, each in zip(held, found)]
    right = [[one for one in metrics.relations(each) if one.label != "no_relation"] for each in held]
    scores = metrics.scores(right, list(map(metrics.relations, said)))
    values = {name: score["value"] for name, score in report["model"].items()}
    assert values == pytest.approx({"f1": scores["f1"], "macro_f1": scores["macro_f1"]}) and values["f1"] > 0.1
    assert all(score["low"] <= score["value"] <= score["high"] for score in report["model"].values())
    assert {name: part["f1"] for name, part in report["parts"].items()} == pytest.approx(
        {name: scores[f"f1/{name}"] for name in LABELS[1:]})
    assert report["parts"]["of"]["items"] == sum(len({one for one in each if one.label == "of"}) for each in right)
    assert report["notes"] == {"spans": "given, none to be found"} and "in (" in tasks.table(report)


def test_figures_of_events_are_those_of_the_metrics(say):
    held, lm = list(drawn(1)), model("Meet")
    report = tasks.measure(relations.task(lm), list(drawn(0)), held)
    found = say(lm, [(one["text"], one["spans"]) for one in held])
    said = [one | {"relations": each} for one, each in zip(held, found)]
    events = [[metrics.events_of(one, ["Meet"]) for one in column] for column in (held, said)]
    assert report["model"]["argument_f1"]["value"] == pytest.approx(metrics.events(*events)["argument_f1"])
    assert set(report["model"]) == {"argument_f1", "argument_macro_f1"}


def test_spans_may_be_found_by_another_run(say, monkeypatch):
    """A finder that finds all but the first span of each text, and calls the last one something else."""
    held, finder, lm = list(drawn(1)), model(), model("Meet")
    found = {one["text"]: [span | ({"label": "Meet"} if n == len(one["spans"]) - 1 else {})
                           for n, span in enumerate(one["spans"])][1:] for one in held}
    monkeypatch.setattr(run, "load", lambda folder: finder)
    monkeypatch.setattr(headed, "check", lambda lm, name: None)
    monkeypatch.setattr(tagging, "tag", lambda lm, texts: texts)
    monkeypatch.setattr(tagging, "entities", lambda text: [SimpleNamespace(**span) for span in found[text]])
    report = tasks.measure(relations.task(lm, "runs/x"), list(drawn(0)), held)
    asked = [(one["text"], found[one["text"]]) for one in held]
    said = [{"spans": spans, "relations": each} for (_, spans), each in zip(asked, say(lm, asked))]
    events = [[metrics.events_of(one, ["Meet"]) for one in column] for column in (held, said)]
    scores = metrics.events(*events)
    assert {name: report["model"][name]["value"] for name in ("trigger_f1", "argument_f1")} == pytest.approx(
        {name: scores[name] for name in ("trigger_f1", "argument_f1")})
    assert 0.2 < scores["trigger_f1"] < 1 and report["notes"]["spans"] == "found by runs/x"
    assert report["baselines"]["majority by labels"]["trigger_f1"]["value"] == pytest.approx(scores["trigger_f1"])
    with pytest.raises(UserError, match="runs/x was trained with config.data.test=0.2, and this run with 0.3, so that"):
        relations.task(model(test=0.3), "runs/x")


def example(text, *related):
    """Of two words, a PER and a LOC."""
    first, second = text.split()[0], text.split()[-1]
    spans = [{"start": 0, "end": len(first), "label": "PER"},
             {"start": len(text) - len(second), "end": len(text), "label": "LOC"}]
    return {"text": text, "spans": spans,
            "relations": [{"head": head, "tail": tail, "label": label} for head, tail, label in related]}


def test_baselines_by_hand():
    train = [example("Ann is in Oslo", (0, 1, "in")), example("Bob is in Vik", (0, 1, "in")),
             example("Eva of Dal", (0, 1, "of")), example("Kim left Rome"),
             example("Leo left Bonn", (0, 1, "of")), example("Ida left Lund")]
    asked = [(text, example(text)["spans"]) for text in ("Jan is in Ulm", "Jan of Ulm", "Jan left Ulm", "Jan near Ulm")]
    told = lambda key, certain: [[one["label"] for one in each] for each in relations._usual(
        key, certain, train, model().config.objective, asked)]
    assert told(relations._labels, True) == [["in", "no_relation"]] * 4  # in: 2, of: 2, the first of them; none: 2
    assert told(relations._between, False) == [["in", "no_relation"], ["of", "no_relation"], *[["no_relation"] * 2] * 2]
    turned = [("Ulm Jan", example("Ulm Jan")["spans"][::-1])]
    ((new, _),) = relations._usual(relations._labels, True, train, model().config.objective, turned)
    assert new["label"] == "no_relation"
