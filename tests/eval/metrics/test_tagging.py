"""Entities against seqeval, drawn at random and on the file that its conlleval.pl was checked with; halves of overlaps
against all ways to pair them."""

import io
import itertools
import random
import tarfile

import numpy as np
import pytest

from lmlab.eval.metrics import counts, interval, tagging
from lmlab.utils import archives
from lmlab.utils.errors import UserError

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-A-B", "I-A-B"]
SDIST = archives.Archive("seqeval", "seqeval-1.2.2.tar.gz",
                         "f28e97c3ab96d6fcd32b648f6438ff2e09cfba87f05939da9b3970713ec56e6f")


def drawn(seed, examples=6, longest=9):
    rng = random.Random(seed)
    lengths = [rng.randint(1, longest) for _ in range(examples)]
    return [[[rng.choice(TAGS) for _ in range(length)] for length in lengths] for _ in range(2)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_as_seqeval(seed):
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2
    gold, found = drawn(seed, examples=seed % 6 + 1)
    for ours, settings in ((tagging.strict, dict(mode="strict", scheme=IOB2)), (tagging.conlleval, {})):
        expected = {}
        if any("-" in tag for tags in gold + found for tag in tags):  # it has no report of nothing
            report = seqeval.classification_report(gold, found, output_dict=True, **settings)
            for kind, row in report.items():
                if kind in ("PER", "LOC", "A-B", "micro avg"):
                    tail = "" if kind == "micro avg" else f"/{kind}"
                    expected |= {f"precision{tail}": row["precision"], f"recall{tail}": row["recall"],
                                 f"f1{tail}": row["f1-score"]}
        scores = ours(gold, found)
        accuracy = scores.pop("accuracy", None)
        assert scores == pytest.approx(expected)
        assert accuracy in (None, pytest.approx(seqeval.accuracy_score(gold, found)))


@pytest.mark.slow
def test_the_figures_of_conlleval():
    """Of ground_truth.txt in seqeval's source archive: a CoNLL-2000 chunker's output, last columns gold and predicted,
    as conlleval.pl prints them; read from the package index, if there is one."""
    try:
        path = archives.fetch(SDIST)
    except UserError as error:
        pytest.skip(f"the source archive of seqeval is out of reach: {error}")
    with tarfile.open(path) as archive:
        text = io.TextIOWrapper(archive.extractfile("seqeval-1.2.2/tests/data/ground_truth.txt"), "utf-8").read()
    sentences = [[line.split() for line in block.splitlines()] for block in text.strip().split("\n\n")]
    gold, found = ([[row[column] for row in rows] for rows in sentences] for column in (-2, -1))
    scores = tagging.conlleval(gold, found)
    assert [round(100 * scores[name], 2) for name in ("accuracy", "precision", "recall", "f1")] == [
        84.08, 68.83, 80.83, 74.35]


def test_an_inside_that_goes_on_with_nothing():
    """I-A after O, after B, after I of another type; outside by IOB2, an entity by conlleval."""
    tags = ["I-A", "O", "B-B", "I-A", "I-A", "I-B", "B-A", "I-A", "B-A"]
    assert tagging.entities(tags) == [("B", 2, 3), ("A", 6, 8), ("A", 8, 9)]
    assert tagging.entities(tags, lenient=True) == [
        ("A", 0, 1), ("B", 2, 3), ("A", 3, 5), ("B", 5, 6), ("A", 6, 8), ("A", 8, 9)]
    assert tagging.entities(["B", "I", "O", "I"]) == [("", 0, 2)]


@pytest.mark.parametrize("tag", ["PER", "E-PER", "", "b-PER", "NN"])
def test_a_tag_of_another_kind(tag):
    with pytest.raises(UserError, match="no tag of an entity"):
        tagging.strict([["O", tag]], [["O", "O"]])


def test_tags_for_other_words():
    with pytest.raises(ValueError, match="1 predicted tags for 2 words"):
        tagging.strict([["O", "O"]], [["O"]])
    with pytest.raises(ValueError):
        tagging.token_accuracy([["O", "O"]], [["O"]])


def best_pairing(gold, found):
    """The most that predicted entities can be worth, each held against one gold entity, by trying all."""
    worth = lambda a, b: 0 if a[0] != b[0] else 1 if a == b else 0.5 * (a[1] < b[2] and b[1] < a[2])
    few, many = sorted((gold, found), key=len)
    return max(sum(map(worth, few, chosen)) for chosen in itertools.permutations(many, len(few)))


@pytest.mark.parametrize("seed", range(60))
def test_halves_of_overlaps_are_the_best_pairing(seed):
    gold, found = drawn(seed, examples=4)
    expected = [(best_pairing(*map(tagging.entities, tags)), len(tagging.entities(tags[1])),
                 len(tagging.entities(tags[0]))) for tags in zip(gold, found)]
    assert tagging.partial_counts(gold, found).tolist() == [list(map(float, row)) for row in expected]


def test_partial_by_hand():
    """One right, one cut short, one of another type: (1 + 1/2) of 3 predicted, of 4 there."""
    gold = [["B-A", "I-A", "O", "B-A", "I-A", "B-B", "O", "B-A"]]
    found = [["B-A", "I-A", "O", "B-A", "O", "B-A", "O", "O"]]
    assert tagging.partial(gold, found) == pytest.approx({"precision": 1.5 / 3, "recall": 1.5 / 4, "f1": 3 / 7})
    assert tagging.strict(gold, found)["f1"] == pytest.approx(2 / 7)


def test_counts_make_the_score():
    gold, found = drawn(5, examples=20)
    table = tagging.strict_counts(gold, found)
    low, high = interval.bootstrap(interval.of_sums(counts.f1), table, trials=100)
    assert counts.f1(table.sum(axis=0)) == tagging.strict(gold, found)["f1"] and low < counts.f1(table.sum(0)) < high
    assert np.array_equal(table[:3], tagging.strict_counts(gold[:3], found[:3]))
