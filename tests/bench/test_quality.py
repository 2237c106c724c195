"""Time to quality, from a run's own record: what is counted, and what a race says of seeds that get there or do not."""

import json

import pytest
from commands import quick

from lmlab.bench import quality, setting
from lmlab.utils.errors import UserError


@pytest.mark.slow
def test_a_curve_is_the_seconds_of_steps_and_the_loss_at_each_evaluation():
    points = quality.curve("configs/gpt.py:tiny,train.steps=6,evals.every=2,model.unroll=1", seed=3)
    seconds, losses = zip(*points)
    assert len(points) == 3 and 0 < seconds[0] < seconds[1] < seconds[2] < 10 and max(losses) < 7
    with pytest.raises(UserError, match="model.width=-1,.* ended with code 1: .*width=-1 must be"):
        quality.curve("configs/gpt.py:tiny,model.width=-1", seed=0)


def test_the_first_time_below_the_target_counts_and_one_that_never_comes_does_not(monkeypatch):
    curves = [[(1.0, 2.0), (4.0, 1.9), (7.0, 1.7), (9.0, 1.8)], [(1.0, 2.0), (5.0, 1.6)], [(2.0, 1.76), (3.0, 1.751)]]
    monkeypatch.setattr(quality, "curve", lambda config, seed, text: curves[seed])
    monkeypatch.setattr(quality.rivals, "there", lambda *_: [])
    first, second = quality.measure(setting.Options(text="input.txt"))
    assert first.figures == {"lmlab": [7.0, 5.0, 2.0]} and first.notes["seeds that reach it"] == "3 of 3"
    assert second.figures == {"lmlab": [7.0, 5.0, quality.NEVER]} and second.notes["seeds that reach it"] == "2 of 3"
    assert first.notes["the end of each"] == "1.800 after 9 s, 1.600 after 5 s, 1.751 after 3 s"


@pytest.mark.slow
def test_the_suite_at_a_size_of_seconds(tmp_path):
    done = quick("bench", "--suite=quality", "--tiny", f"--out={tmp_path}")
    assert done.code == 0, done.err
    assert len(json.loads((tmp_path / "quality.json").read_text())["times"]) == len(quality.TARGETS)
    done = quick("bench", "--suite=quality")
    assert done.code == 1 and "--suite=quality needs --text=FILE" in done.err
