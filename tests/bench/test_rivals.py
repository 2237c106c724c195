"""The suites that time processes: each at a size of seconds, ours beside a rival where torch is installed; what the
processes say of themselves against arithmetic; and that one that dies is one line."""

import importlib.util
import json

import numpy as np
import pytest
from commands import command

from lmlab.bench import data, ours, rivals, setting
from lmlab.utils import timing
from lmlab.utils.errors import UserError

TINY = {**setting.TINY["1 x 16"], "vocab_size": 65}
TORCH = importlib.util.find_spec("torch") is not None


def test_ours_trains_in_a_process_of_its_own_and_tells_how_it_started():
    with rivals.ours({**TINY, "way": "train"}) as worker:
        first, second = worker.ask(2), worker.ask(1)
        assert first["seconds"] > 0 and first["result"] == pytest.approx(np.log(65), abs=0.2)
        assert second["result"] != first["result"]
        start = worker.facts["start"]
        assert 0 < start["import"] + start["tracing"] + start["compilation"] < start["all"] < 300
        assert worker.peak() > 50e6
    # 12 D^2 and two norms; embeddings of tokens and positions; a last norm.
    assert worker.facts["parameters"] == 12 * 16 ** 2 + 2 * 16 + (65 + 8 + 1) * 16


def test_the_products_are_those_of_a_step_without_attention():
    """6 operations for every parameter that multiplies, and token: 12 D^2 a layer, and the way out, V D."""
    _, facts = ours.products(**TINY)
    assert facts["flops"] == 6 * (12 * 16 ** 2 + 65 * 16) * 2 * 8


def test_parts_of_a_start_count_nested_work_once():
    found = ours.seconds_of([("tracing", 0.0, 4.0), ("tracing", 1.0, 2.0), ("tracing", 3.5, 5.0),
                             ("compilation", 4.5, 6.0)])
    assert found == {"tracing": 5.0, "compilation": 1.5}


def test_no_buffer_holds_all_logits():
    """211 words, 64 tokens of width 16: pieces of 8 tokens leave no array with both; the loss in one piece has it."""
    size = {**TINY, "context": 64, "batch": 1, "vocab_size": 211}
    pieces, whole = (ours.trainer(analyse=True, chunk=chunk, **size)[1] for chunk in (8, 64))
    assert not pieces["whole"] and whole["whole"] and pieces["temporaries"] < whole["temporaries"]


@pytest.mark.parametrize("shape,found", [("f32[1,64,211]{2,1,0}", True), ("bf16[211,64]", True), ("f32[8,8,211]", True),
                                         ("f32[8,211]", False), ("f32[64,212]", False), ("f32[211]", False)])
def test_an_array_of_vocabulary_times_tokens_is_found(shape, found):
    assert ours.holds(f"%x = {shape} add(f32[16,3] %a, s32[] %b)", 211, 64) == found


def test_a_process_that_dies_is_one_line():
    with pytest.raises(UserError, match=r"^the rival ended with code 1: ValueError: no such way$"):
        rivals.Worker("the rival", ["-c", "raise ValueError('no such way')"], {})
    mute = rivals.Worker("the rival", ["-c", "print('{}', flush=True); input(); print(1 / 0)"], {})
    with pytest.raises(UserError, match="ZeroDivisionError"):
        mute.ask(1)


def test_without_torch_ours_runs_alone_and_a_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert rivals.there(setting.Options()) == []
    told = capsys.readouterr().err
    assert "pip install torch" in told and "parity" in told and told.count("\n") == 1
    with pytest.raises(UserError, match="--rival=nowhere.py: no such file"):
        rivals.there(setting.Options(rival="nowhere.py"))


def test_a_row_of_the_made_up_text_is_a_run_of_it(tmp_path):
    split = data.write(tmp_path, 5000)
    tokens = np.fromfile(tmp_path / "train.bin", np.uint16)
    assert np.array_equal(split.tokens[1000:1100], tokens[1000:1100]) and not tokens[split.offsets].any()
    assert len(tokens) == split.offsets[-1] + 1 and np.count_nonzero(tokens == 0) == len(split.offsets)


@pytest.mark.slow
@pytest.mark.skipif(not TORCH, reason="needs torch")
def test_the_rivals_are_as_large_as_ours_and_learn_as_fast():
    """The plain one has ours' parameters; transformers' has biases too. All start near log V."""
    with rivals.ours({**TINY, "way": "train"}) as worker:
        parameters = worker.facts["parameters"]
    for name in ("PyTorch", "transformers"):
        with rivals.rival(name, {**TINY, "way": rivals.PYTORCH[name]}) as worker:
            biases = 0 if name == "PyTorch" else 16 * (3 + 1 + 4 + 1) + 3 * 16
            assert worker.facts["parameters"] == parameters + biases
            assert worker.ask(1)["result"] == pytest.approx(np.log(65), abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["train", "memory", "compile", "decode", "data"])
def test_a_suite_tells_and_draws_what_it_timed(suite, tmp_path):
    done = command("bench", f"--suite={suite}", "--tiny", f"--out={tmp_path}", devices=1)
    assert done.code == 0, done.err
    written = json.loads((tmp_path / f"{suite}.json").read_text())["times"]
    table = (tmp_path / f"{suite}.md").read_text().splitlines()
    for line, race in zip(table[2:], written, strict=True):
        assert line.startswith(f"| {race['what']} |")
        assert all(min(values) > 0 for values in race["figures"].values())
    assert any(race["rivals"] for race in written) == (suite == "data" or suite != "compile" and TORCH)
    assert (tmp_path / f"{suite}.png").read_bytes().startswith(b"\x89PNG")


def test_the_sums_of_a_race():
    """Ours takes 1 ms a token, the rivals 2 and 1.5: a thousand tokens a second, 1.5 times the better of them."""
    race = timing.Race("x", "tokens/s", {"ours": [1e-3] * 8, "a": [2e-3] * 8, "b": [1.5e-3] * 8, "bare": [1e-4] * 8},
                       ("a", "b"), 1.4, {"note": "yes"})
    assert race.shown("a").median == pytest.approx(500) and race.best()[0] == "b"
    assert race.best()[1].median == pytest.approx(1.5)
    memory = timing.Race("y", "GiB", {"ours": [2.0], "a": [3.0]}, ("a",), 1.0)
    lines = timing.table([race, memory]).split("\n")
    assert lines[2] == "| x | 1,000 | 500 | 666.7 | 10,000 | tokens/s | 1.500 | 1.500 – 1.500 | 8 | 1.4: holds | yes |"
    assert lines[3] == "| y | 2 | 3 |  |  | GiB | 1.500 | 0.000 – inf | 1 | 1: open |  |"
    assert len({line.count("|") for line in lines}) == 1
    slower = race._replace(claim=1.6)
    assert "1.6: FAILS" in timing.table([slower])
