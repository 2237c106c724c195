"""`evaluate` scores a split or a file, exactly."""

import json
import shutil

import pytest

from commands import quick, tiny
from lmlab import run
from lmlab.decoding import multiple_choice
from lmlab.utils.logs import read_metrics


def evaluate(*flags):
    done = quick("evaluate", f"--run={tiny() / 'run'}", *flags)
    assert done.code == 0 and not done.err, done.err
    return done.out


def scores(*flags):
    return json.loads(evaluate("--json", *flags), parse_constant=pytest.fail)


def test_the_validation_split_is_as_the_run_noted():
    noted = read_metrics(tiny() / "run")[-1]
    for batch in (1, 5):
        found = scores(f"--batch={batch}")
        for name in ("loss", "perplexity", "bits_per_byte", "word_perplexity", "accuracy"):
            assert found[name] == pytest.approx(noted[f"val_{name}"], rel=1e-4 if "word" in name else 1e-6), name
    assert found["step"] == 6 and found["documents"] == 1


def test_a_file_is_scored_whole(tmp_path):
    config = run.load_config(tiny() / "run")
    data = run.prepare(config, run.load_tokenizer(tiny() / "run"))
    held_out = next(iter(data.corpus.documents("validation")))
    (tmp_path / "v.txt").write_text(held_out, "utf-8")
    by_file, by_split = scores(f"--path={tmp_path}/v.txt"), scores("--split=validation")
    assert by_file == pytest.approx(by_split, rel=1e-6)
    assert by_file["bytes"] == len(held_out.encode())


def test_files_of_rows_add_up(tmp_path):
    rows = ["the cat of 春眠", "was it for you, was it"]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps({"body": r}) for r in rows), "utf-8")
    found = scores(f"--path={tmp_path}/*.jsonl", "--field=body")
    assert found["documents"] == 2 and found["tokens"] == found["bytes"] + 2 == sum(len(r.encode()) for r in rows) + 2


def test_choices_by_a_decoder_without_a_head(tmp_path):
    """By the likelihood of each choice; --field may name the parts."""
    asked = [{"question": "the cat", "choices": ["of the", "春眠", "was it"], "answer": 2},
             {"question": "it was", "choices": ["for", "word by word"], "answer": 0}] * 2
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"q": one["question"], "c": one["choices"],
                                                          "a": one["answer"]}) + "\n" for one in asked))
    shutil.copytree(tiny() / "run", tmp_path / "run")
    ask = lambda name, *more: json.loads(quick("evaluate", f"--run={tmp_path / 'run'}", "--task=multiple_choice",
                                               f"--path={tmp_path / name}", "--json", *more).out)
    report = ask("a.jsonl")
    said = [p_C.argmax() == one["answer"] for one, p_C in zip(asked, multiple_choice.probabilities(
        run.load(tiny() / "run"), asked))]
    assert report["model"]["accuracy"]["value"] == sum(said) / 4 and report["examples"] == 4
    kept = json.loads((tmp_path / "run" / "evaluation" / "multiple_choice" / "path.json").read_text())
    assert ask("b.jsonl", "--field=q,c,a") == report == {name: kept[name] for name in report}


def test_an_older_step_and_the_table():
    assert scores("--step=3")["loss"] > scores("--step=6")["loss"]
    table = dict(line.split() for line in evaluate("--split=test").splitlines())
    assert float(table["bits_per_byte"]) == pytest.approx(scores("--split=test")["bits_per_byte"], rel=1e-4)
    assert "lzma_bits_per_byte" in table and "lzma_primed_bits_per_byte" not in table
