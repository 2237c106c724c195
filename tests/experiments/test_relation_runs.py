"""Relations and events as a user does them: a file of examples in, a measured model out; another run finds spans."""

import json
import random

import pytest

import lmlab
from commands import quick

NAMES = ("Berg", "Lund", "Oslo", "Vik", "Holm", "Dal", "Moe", "Ness")
pytestmark = pytest.mark.slow
SMALL = ("--config.data.source=files", "--config.data.test=0.2", "--config.data.validation=0.1",
         "--config.train.log_every=20", "--config.tokenizer.name=wordpiece", "--config.tokenizer.vocab_size=100",
         "--config.optimizer.rate=0.01")


def examples(count, seed=0):
    """Meetings: who stands on which side of "met" is told by the words before both alone, and by no word between."""
    pick = random.Random(seed)
    for number in range(count):
        first, second = pick.sample(NAMES, 2)
        turned = pick.random() < 0.5
        words = ["No", str(number), "by" if turned else "so", first, "met", second]
        starts = [len(" ".join(words[:n])) + 1 for n in range(len(words))]
        spans = [{"start": starts[n], "end": starts[n] + len(words[n]), "label": label}
                 for n, label in ((3, "PER"), (4, "Meet"), (5, "PER"))]
        roles = ["agent", "patient"][::-1 if turned else 1]
        yield {"text": " ".join(words), "spans": spans,
               "relations": [{"head": 1, "tail": 2 * n, "label": role} for n, role in enumerate(roles)]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a run that finds what events are made of, and one that relates it."""
    folder, found = tmp_path_factory.mktemp("events"), {}
    rows = list(examples(300))
    (folder / "relations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spans = [{name: one[name] for name in ("text", "spans")} for one in rows]
    (folder / "tagging.jsonl").write_text("\n".join(map(json.dumps, spans)))
    more = {"relations": ("--config.objective.heads=Meet", "--config.train.length=48"),
            "tagging": ("--config.train.length=32",)}
    for name in more:
        found[name] = folder / name
        done = quick("train", f"--config=configs/{name}.py:tiny", f"--workdir={found[name]}",
                     "--config.train.steps=200", f"--config.data.path={folder / name}.jsonl", "--config.train.batch=8",
                     *SMALL, *more[name], XLA_FLAGS="--xla_force_host_platform_device_count=1")
        assert done.code == 0, done.err
    return found


def test_arguments_are_measured_beside_baselines_of_given_and_of_found_spans(runs):
    done = quick("evaluate", f"--run={runs['relations']}", "--split=test")
    assert done.code == 0, done.err
    assert [line.split("  ")[0] for line in done.out.splitlines()[1:4]] == [
        "model", "majority by labels", "labels and words between"]
    report = lambda: json.loads((runs["relations"] / "evaluation" / "relations" / "test.json").read_text())
    given = report()
    assert given["model"]["argument_f1"]["value"] > 0.95 and set(given["parts"]) == {"agent", "patient"}
    assert all(one["low"] > 0.1 for one in given["difference"]["argument_f1"].values())
    done = quick("evaluate", f"--run={runs['relations']}", "--split=test", f"--spans={runs['tagging']}")
    assert done.code == 0, done.err
    found = report()
    assert found["notes"] == {"spans": f"found by {runs['tagging']}"} and found["model"]["trigger_f1"]["value"] > 0.9
    assert 0.7 < found["model"]["argument_f1"]["value"] <= given["model"]["argument_f1"]["value"]
    wrong = quick("evaluate", f"--run={runs['relations']}", f"--spans={runs['relations']}")
    assert wrong.code != 0 and "this model was trained for config.objective.name=relations" in wrong.err


def test_the_pipelines_go_hand_in_hand(runs):
    text = "No 7 by Vik met Dal"
    entities = lmlab.pipeline("token-classification", runs["tagging"])(text, aggregation_strategy="simple")
    assert [(one["entity_group"], one["word"]) for one in entities] == [("PER", "Vik"), ("Meet", "met"), ("PER", "Dal")]
    related = lmlab.pipeline("relation-extraction", runs["relations"])(text=text, entities=entities)
    assert [(one["head"], one["tail"], one["relation"]) for one in related] == [(1, 0, "patient"), (1, 2, "agent")]


def test_a_damaged_file_is_one_line(tmp_path):
    rows = list(examples(3))
    rows[1]["relations"][0]["tail"] = 3
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = quick("train", "--config=configs/relations.py:tiny", f"--workdir={tmp_path / 'run'}", *SMALL,
                 "--config.train.batch=8", f"--config.data.path={tmp_path / 'x.jsonl'}")
    assert f"{tmp_path / 'x.jsonl'}, line 2: relations[0].tail is 3, and there are 3 spans" in done.err
    assert done.code != 0 and "Traceback" not in done.err
