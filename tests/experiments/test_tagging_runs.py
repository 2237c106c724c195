"""Tagging as a user does it: columns of words and tags in, a measured tagger out."""

import json
import random

import pytest

import lmlab
from commands import quick

pytestmark = pytest.mark.slow
NAMES = ("Berg", "Lund", "Oslo", "Vik", "Holm", "Dal")  # each of a person and of a place


def sentences(count, seed=0):
    """Columns: what a name is of is told by the word before it, and by no word alone."""
    pick = random.Random(seed)
    for number in range(count):
        person, place = pick.choice(NAMES), pick.choice(NAMES)
        yield f"No O\n{number} O\nMr B-PER\n{person} I-PER\nis O\nin O\n{place} B-LOC\n. O\n"
        yield f"No O\n{number} O\nfrom O\n{place} B-LOC\nto O\nMr B-PER\n{person} I-PER\n. O\n"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """The folder of a trained run."""
    folder = tmp_path_factory.mktemp("tagging")
    (folder / "data.conll").write_text("\n".join(sentences(150)))
    done = quick("train", "--config=configs/tagging.py:tiny", f"--workdir={folder / 'run'}",
                 "--config.data.source=files", f"--config.data.path={folder / 'data.conll'}", "--config.data.test=0.2",
                 "--config.tokenizer.name=wordpiece",
                 "--config.tokenizer.vocab_size=80", "--config.train.steps=100", "--config.train.batch=8",
                 "--config.train.length=32", "--config.optimizer.rate=0.01", "--config.train.log_every=10")
    assert done.code == 0, done.err
    assert "nats a word" in done.out
    return folder / "run"


def test_the_task_is_measured_beside_its_baseline(tagger):
    done = quick("evaluate", f"--run={tagger}", "--split=test")
    assert done.code == 0, done.err
    assert [line.split("  ")[0] for line in done.out.splitlines()[1:3]] == ["model", "most frequent tag of a word"]
    report = json.loads((tagger / "evaluation" / "tagging" / "test.json").read_text())
    assert report["model"]["strict_f1"]["value"] > 0.95
    assert report["difference"]["strict_f1"]["most frequent tag of a word"]["low"] > 0.1
    assert set(report["parts"]) == {"LOC", "PER"}


def test_the_pipeline_finds_entities_in_text(tagger):
    lm = lmlab.load(tagger)
    assert lm.labels == ("B-LOC", "B-PER", "I-PER", "O") and lm.params["task_transitions"].shape == (6, 4)
    groups = lmlab.pipeline("token-classification", lm)("No 7 from Vik to Mr Dal .", aggregation_strategy="simple")
    assert [(one["entity_group"], one["word"], one["start"], one["end"]) for one in groups] == [
        ("LOC", "Vik", 10, 13), ("PER", "Mr Dal", 17, 23)]
    assert all(0.5 < one["score"] <= 1 for one in groups)
