"""Relations against scikit-learn, each possible one as a column of labels; events by hand."""

import itertools

import numpy as np
import pytest

from lmlab.eval.metrics import counts, relations
from lmlab.eval.metrics.relations import Event, Relation

SPANS = [(0, 2), (3, 5), (3, 6)]
ALL = [Relation(head, tail, label) for head, tail in itertools.permutations(SPANS, 2) for label in ("lives", "works")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10))
def test_as_sklearn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    gold_BN, found_BN = np.random.default_rng(seed).random((2, 5, len(ALL))) < 0.3
    chosen = lambda rows_BN: [[one for one, there in zip(ALL, row) if there] for row in rows_BN]
    scores = relations.scores(chosen(gold_BN), chosen(found_BN))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(gold_BN, found_BN, average="micro")
    of_label = {label: [i for i, one in enumerate(ALL) if one.label == label] for label in ("lives", "works")}
    labels = {f"f1/{label}": metrics.f1_score(gold_BN[:, at], found_BN[:, at], average="micro")
              for label, at in of_label.items()}
    assert scores == pytest.approx({"precision": precision, "recall": recall, "f1": f1,
                                    "macro_f1": np.mean(list(labels.values())), **labels})
    table = relations.relation_counts(chosen(gold_BN), chosen(found_BN))
    assert counts.f1(table.sum(axis=0)) == pytest.approx(f1) and len(table) == 5


def test_head_and_tail_are_not_the_same():
    one, turned = Relation((0, 2), (3, 5), "lives"), Relation((3, 5), (0, 2), "lives")
    assert relations.scores([[one]], [[turned]])["f1"] == 0 and relations.scores([[one]], [[one, one]])["f1"] == 1


def test_relations_of_an_example():
    example = {"text": "Ann lives in Rome", "relations": [{"head": 1, "tail": 0, "label": "home of"}],
               "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 13, "end": 17, "label": "LOC"}]}
    assert relations.relations(example) == [((13, 17), (0, 3), "home of")]


def test_events_by_hand():
    """Two events, both triggers found, one with another type; of three arguments one is found, one has another role,
    and one hangs on the event of another type."""
    gold = [[Event((0, 1), "attack", (((2, 3), "agent"), ((4, 5), "place"))), Event((7, 8), "move", (((9, 9), "to"),))]]
    found = [[Event((0, 1), "attack", (((2, 3), "agent"), ((4, 5), "time"))), Event((7, 8), "die", (((9, 9), "to"),))]]
    assert relations.events(gold, found) == pytest.approx({
        "trigger_precision": 1 / 2, "trigger_recall": 1 / 2, "trigger_f1": 1 / 2,
        "argument_precision": 1 / 3, "argument_recall": 1 / 3, "argument_f1": 1 / 3})
    assert set(relations.events([[]], [[]]).values()) == {0.0}


def test_events_of_an_example():
    spans = [{"start": 0, "end": 1, "label": "PER"}, {"start": 2, "end": 3, "label": "meet"},
             {"start": 4, "end": 5, "label": "visit"}]
    related = [{"head": 1, "tail": 0, "label": "agent"}, {"head": 1, "tail": 2, "label": "time"},
               {"head": 0, "tail": 2, "label": "of no event"}]
    found = relations.events_of({"text": "a b c", "spans": spans, "relations": related}, ["meet", "visit"])
    assert found == [Event((2, 3), "meet", (((0, 1), "agent"), ((4, 5), "time"))), Event((4, 5), "visit", ())]
    assert relations.triggers(found) == [((2, 3), "meet"), ((4, 5), "visit")]
    assert relations.arguments(found) == [("meet", (0, 1), "agent"), ("meet", (4, 5), "time")]
