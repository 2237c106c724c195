"""What a run leaves behind to be read: summary.json, the table, the samples, the plots."""

import json
import math
import shutil

import jax
import matplotlib.image
import pytest

from commands import WORDS, tiny

from lmlab import run
from lmlab.data import loader, store
from lmlab.data.features import causal
from lmlab.eval import report
from lmlab.utils import chips
from lmlab.utils.logs import PARTS, read_metrics
from lmlab.utils.trees import by_path

REQUIRED = {"steps": int, "tokens": int, "wall_seconds": float, "compile_seconds": float, "tokens_per_second": float,
            "train_loss": float, "val_loss": float, "val_bits_per_byte": float, "lzma_bits_per_byte": float,
            "lzma_primed_bits_per_byte": float, "unigram_bits_per_byte": float, "val_perplexity": float,
            "val_word_perplexity": float, "finished": bool}


@pytest.fixture(scope="module")
def summary():
    """summary.json of the tiny run."""
    return json.loads((tiny() / "run" / "summary.json").read_text("utf-8"), parse_constant=pytest.fail)


def test_summary_holds_what_the_design_asks_for(summary):
    for name, kind in REQUIRED.items():
        assert isinstance(summary[name], kind) and (kind is bool or 0 < summary[name] < math.inf), name
    assert summary["steps"] == 6 and summary["finished"]
    assert summary["compile_seconds"] < summary["wall_seconds"] < 100


def test_summary_counts_as_by_hand(summary):
    evaluated = [row for row in read_metrics(tiny() / "run") if "val_loss" in row]
    assert [row["step"] for row in evaluated] == [0, 3, 6]
    assert summary["val_loss"] == evaluated[-1]["val_loss"] < evaluated[0]["val_loss"] and summary["train_loss"] < 5.6
    length = len((tiny() / "text.txt").read_text("utf-8"))
    held_out = (tiny() / "text.txt").read_text("utf-8")[int(length * 0.9):int(length * 0.95)]
    assert summary["validation_bytes"] == len(held_out.encode())
    assert summary["val_bits_per_byte"] == pytest.approx(
        summary["val_loss"] * (len(held_out.encode()) + 1) / math.log(2) / len(held_out.encode()), rel=1e-6)
    config = run.load_config(tiny() / "run")
    data = run.prepare(config, run.load_tokenizer(tiny() / "run"))
    split = store.open_split(data.folder, "train")
    rows = causal.features(split, data.tokenizer, length=32, windows="stream")
    batches = loader.train_batches(rows, batch=8, seed=0)
    assert summary["tokens"] == sum(int(batches[i]["weights"].sum()) for i in range(6))


def test_summary_tells_what_the_time_went_into(summary):
    assert set(summary["goodput"]) == set(PARTS) and sum(summary["goodput"].values()) == pytest.approx(1, abs=1e-5)
    spent = {part: share * summary["wall_seconds"] for part, share in summary["goodput"].items()}
    assert spent["compile"] == pytest.approx(summary["compile_seconds"], abs=0.1) and spent["lost"] == 0
    last = read_metrics(tiny() / "run")[-1]
    assert all(spent[part] >= last["spent"][part] - 0.02 for part in PARTS)
    assert min(spent[part] for part in ("step", "evaluation", "checkpoint", "other")) > 0


def test_operations_are_those_of_the_model_and_an_unknown_chip_has_no_mfu(summary, monkeypatch):
    config = run.load_config(tiny() / "run")
    data = run.prepare(config, run.load_tokenizer(tiny() / "run"))
    lm = run.load(tiny() / "run")
    spec, kernels = lm.model.spec, [leaf for path, leaf in by_path(lm.params).items() if path.endswith("kernel")]
    multiplied = sum(leaf.size for leaf in kernels) + lm.params["token_embedding"].size * spec.tied
    by_hand = 6 * multiplied + 6 * spec.layers * spec.heads * spec.head_size * 32
    assert summary["flops_per_token"] == by_hand and "mfu" not in summary
    assert not any("mfu" in row for row in read_metrics(tiny() / "run"))
    assert report.operations(config, data, spec, lm.params) == (by_hand, 0.0)
    monkeypatch.setattr(chips, "find", lambda kind: chips.CHIPS["v5e"])
    assert report.operations(config, data, spec, lm.params) == (by_hand, 197e12 * jax.device_count() / by_hand)


def test_table_is_for_people(summary):
    table = report.table(summary, tiny() / "run")
    assert table in (tiny() / "out").read_text("utf-8")
    for word in ("bits per byte", "lzma", "unigram", "tokens a second", "story.png", f"--run={tiny() / 'run'}"):
        assert word in table
    assert f"{summary['val_loss']:.4g}" in table


def test_table_tells_time_and_mfu_where_there_are_any(summary, tmp_path):
    of_it = next(line for line in report.table(summary, tmp_path).split("\n") if "of it" in line)
    largest = max(summary["goodput"], key=summary["goodput"].get)
    assert of_it.split()[2:4] == [largest, f"{summary['goodput'][largest]:.1%},"]
    assert "peak" not in report.table(summary, tmp_path)
    assert "0.4321  of the devices' peak rate" in report.table({**summary, "mfu": 0.43212}, tmp_path)


def test_table_of_a_run_with_little_to_tell(tmp_path):
    assert "3 steps" in report.table({"corpus": "x", "steps": 3, "val_loss": None}, tmp_path)


@pytest.mark.parametrize("name", ["loss", "rate", "throughput", "story"])
def test_plots_are_pictures(name):
    image = matplotlib.image.imread(tiny() / "run" / "plots" / f"{name}.png")
    assert image.shape[0] > 300 and image[..., :3].std() > 0.02


def test_samples_stand_at_every_evaluation():
    folder = tiny() / "run" / "samples"
    assert sorted(int(p.stem) for p in folder.iterdir()) == [0, 3, 6]
    assert all(p.read_text("utf-8").strip() for p in folder.iterdir())


def test_measured_baselines_are_those_of_the_split(summary):
    config = run.load_config(tiny() / "run")
    data = run.prepare(config, run.load_tokenizer(tiny() / "run"))
    assert report.measure_baselines(config, data) == {k: v for k, v in summary.items() if k in (
        "lzma_bits_per_byte", "lzma_primed_bits_per_byte", "unigram_bits_per_byte")}
    assert any(word in next(iter(data.corpus.documents("validation"))) for word in WORDS)


def test_a_damaged_sample_is_shown_as_it_is(tmp_path):
    for step in (0, 6):
        (tmp_path / "samples").mkdir(exist_ok=True)
        (tmp_path / "samples" / f"{step}.txt").write_bytes(b"a \xff b\n")
    assert "a \ufffd b" in report.table({"corpus": "x", "steps": 6}, tmp_path)
    assert [text for _, text in report._story(tmp_path, 6)] == ["a \ufffd b\n"] * 2


def test_a_damaged_summary_is_as_none(tmp_path):
    shutil.copy(tiny() / "run" / "summary.json", tmp_path)
    assert run.read_summary(tmp_path)["steps"] == 6
    for content in ("", "{", "[1]", "5", "\xff"):
        (tmp_path / "summary.json").write_text(content, "latin-1")
        assert run.read_summary(tmp_path) == {}
    assert run.read_summary(tmp_path / "none") == {}
