"""From text to text as a user does it: aligned files in, a measured translator out, and one line for what is wrong."""

import json
import random

import pytest

import lmlab
from commands import quick

pytestmark = pytest.mark.slow
WORDS = dict(zip("cat dog bird mouse horse one two three red blue".split(),
                 "Katze Hund Vogel Maus Pferd ein zwei drei rot blau".split()))


def write(folder, name, count, seed):
    """Two files of words and their translations, the other way round."""
    pick = random.Random(seed)
    rows = [pick.choices(list(WORDS), k=pick.randint(2, 5)) for _ in range(count)]
    (folder / f"{name}.en").write_text("".join(" ".join(row) + "\n" for row in rows))
    (folder / f"{name}.de").write_text("".join(" ".join(WORDS[word] for word in row[::-1]) + "\n" for row in rows))
    return f"{folder / name}.en+{name}.de"


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """The folder of a trained run, with the data beside it."""
    folder = tmp_path_factory.mktemp("writing")
    splits = {name: write(folder, name, count, seed) for seed, (name, count) in enumerate(
        {"train": 800, "val": 40, "test": 40}.items())}
    done = quick("train", "--config=configs/seq2seq.py:tiny", f"--workdir={folder / 'run'}",
                 "--config.data.source=files", f"--config.data.path={splits['train']}",
                 f"--config.data.validation_path={splits['val']}", f"--config.data.test_path={splits['test']}",
                 "--config.tokenizer.name=wordpiece", "--config.tokenizer.vocab_size=80",
                 "--config.train.steps=150", "--config.train.batch=32",
                 "--config.model.context=16", "--config.model.width=64", "--config.model.layers=1",
                 "--config.model.encoder_layers=1", "--config.model.ff=128", "--config.model.dropout=0.0",
                 "--config.optimizer.rate=0.01", "--config.optimizer.warmup=20", "--config.train.log_every=50",
                 "--config.evals.task=translation", "--config.evals.samples=0")
    assert done.code == 0, done.err
    return folder


def test_translations_are_measured_beside_their_baselines(translator):
    done = quick("evaluate", f"--run={translator / 'run'}", "--split=test")
    assert done.code == 0, done.err
    assert [line.split("  ")[0] for line in done.out.splitlines()[1:4]] == ["model", "copy", "word for word"]
    report = json.loads((translator / "run" / "evaluation" / "translation" / "test.json").read_text())
    assert all(report["difference"]["bleu"][name]["low"] > 0 for name in ("copy", "word for word"))
    assert "tok:13a" in report["notes"]["bleu"] and "bleu: nrefs:1" in done.out
    said = (translator / "run" / "evaluation" / "translation" / "said.jsonl").read_text().splitlines()
    assert len(said) == report["examples"] and set(json.loads(said[0])) == {"source", "target", "said"}


def test_another_pair_of_files_is_measured_by_beams(translator):
    done = quick("evaluate", f"--run={translator / 'run'}", f"--path={translator}/val.en+val.de", "--beams=3",
                 "--length_penalty=0.6", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["examples"] == 40 and report["difference"]["bleu"]["copy"]["low"] > 0
    said = map(json.loads, (translator / "run" / "evaluation" / "translation" / "said.jsonl").read_text().splitlines())
    rows = list(said)[:5]
    pipe = lmlab.pipeline("translation_en_to_de", translator / "run")
    made = pipe([row["source"] for row in rows], beams=3, length_penalty=0.6)
    assert [one["translation_text"] for one in made] == [row["said"] for row in rows]


def test_an_unknown_task_names_the_near_one(translator):
    done = quick("evaluate", f"--run={translator / 'run'}", "--task=translatoin")
    assert done.code == 1 and "--task=translatoin is no task; did you mean 'translation'" in done.err


@pytest.mark.parametrize("path, message", [
    ("short.en+val.de", "short.en: 1 lines, and the other file of short.en+val.de has more"),
    ("val.en+none.de", "none.de: no such file; parallel text is two files"),
    ("bad.tsv", "bad.tsv, line 1: no column 'en'; it has a, b"),
    ("bytes.en+val.de", "bytes.en, line 1: not UTF-8 (byte 0xff)")])
def test_files_that_are_no_pairs_are_one_line(translator, path, message):
    (translator / "short.en").write_text("one\n")
    (translator / "bytes.en").write_bytes(b"\xff\n")
    (translator / "bad.tsv").write_text("a\tb\n1\t2\n")
    done = quick("evaluate", f"--run={translator / 'run'}", f"--path={translator}/{path}", "--field=en,de")
    assert done.code == 1 and message in done.err.splitlines()[-1] and "Traceback" not in done.err
