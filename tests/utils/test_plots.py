"""Plots are pictures of something, whatever the run was like."""

import math
import struct
import warnings

import matplotlib.image
import numpy as np
import pytest

from lmlab.utils import plots

ROWS = [{"step": 0, "val_loss": 5.5, "val_bits_per_byte": 8.0}] + [
    {"step": s, "loss": 5.5 - s / 10, "rate": 1e-3, "tokens_per_second": 900.0 + s} for s in range(1, 11)] + [
    {"step": 10, "val_loss": 4.5, "val_bits_per_byte": 6.5}]
SUMMARY = {"tokens_per_byte": 0.4, "lzma_bits_per_byte": 2.5, "lzma_primed_bits_per_byte": 1.9,
           "unigram_bits_per_byte": 4.4}
SAMPLES = [("0 % (step 0)", "a sample\nof two lines"), ("100 % (step 10)", "and " * 400)]
ODD = {
    "no samples": (ROWS, SUMMARY, []),
    "one row": ([ROWS[0]], SUMMARY, SAMPLES),
    "nothing": ([], {"tokens_per_byte": 0.4}, []),
    "no baselines": (ROWS, {"tokens_per_byte": 0.4}, SAMPLES),
    "absent baselines": (ROWS, {**SUMMARY, "lzma_bits_per_byte": None}, SAMPLES),
    "chinese": (ROWS, SUMMARY, [("0 %", "春眠不觉晓，处处闻啼鸟。" * 20), ("100 %", "夜来风雨声 mixed with English")]),
    "control characters": (ROWS, SUMMARY, [
        ("0 %", "\x00\x07\x1b[31m\u202e\ufffd\r\n\v\f\u2028 $x^2$ \\frac{ $$ \ud800")]),
    "emoji": (ROWS, SUMMARY, [("0 %", "😀" * 90)]),
    "an empty sample": (ROWS, SUMMARY, [("0 %", "")]),
    "infinite": ([*ROWS, {"step": 11, "loss": math.inf, "val_bits_per_byte": math.inf, "val_perplexity": math.inf}],
                 SUMMARY, SAMPLES),
    "not a number": ([*ROWS, {"step": 11, "loss": math.nan, "rate": None, "tokens_per_second": None}], SUMMARY, []),
}


def pixels(path):
    """The picture as an array, once its header has been read by hand."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
    width, height = struct.unpack(">II", head[16:24])
    image = matplotlib.image.imread(path)
    assert image.shape[:2] == (height, width) and width > 500 and height > 300
    return image[..., :3]


@pytest.mark.parametrize("case", ODD)
def test_every_run_can_be_drawn(tmp_path, case):
    rows, summary, samples = ODD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a glyph that is missing
        paths = plots.draw_run(tmp_path, rows, summary, samples, title="$a_b$ 春 {x}")
    assert [p.name for p in paths] == ["rate.png", "throughput.png", "loss.png", "story.png"]
    for path in paths:
        assert pixels(path).std() > 0.01


def test_pictures_show_the_run(tmp_path):
    loss = pixels(plots.draw_run(tmp_path, ROWS, SUMMARY, SAMPLES)[2])
    shown = lambda image, colour: (np.abs(image - np.array(matplotlib.colors.to_rgb(colour))).max(-1) < 0.12).sum() > 20
    for colour in (plots.TRAIN, plots.HELD_OUT, *(c for _, c in plots.BITS.values())):
        assert shown(loss, colour), colour
    without = pixels(plots.draw_run(tmp_path, ROWS, {"tokens_per_byte": 0.4}, SAMPLES)[2])
    assert not shown(without, plots.BITS["lzma_bits_per_byte"][1])


def test_series_are_the_finite_values():
    rows = [{"step": s, "x": x} for s, x in enumerate((2.0, None, math.nan, 0.0), 1)] + [{"step": 5}]
    assert plots.series(rows, "x") == ([1, 4], [2.0, 0.0])
