"""The verb `bench` at a size of seconds: a table on the terminal, the same and every time that was taken in files."""

import json

import numpy as np
import pytest
from commands import quick


@pytest.mark.slow
def test_suites_print_and_write_what_they_timed(tmp_path):
    done = quick("bench", "--suite=checkpoint,guard", "--tiny", f"--out={tmp_path}")
    assert done.code == 0, done.err
    for suite in ("checkpoint", "guard"):
        table = (tmp_path / f"{suite}.md").read_text()
        assert f"## {suite}\n\n{table}" in done.out
        assert (tmp_path / f"{suite}.png").read_bytes().startswith(b"\x89PNG")
        written = json.loads((tmp_path / f"{suite}.json").read_text())
        assert written["machine"]["devices"]["count"] and len(written["times"]) >= 2
        for line, times in zip(table.splitlines()[2:], written["times"], strict=True):
            assert len(times["base"]) == len(times["other"]) >= 6 and min(times["base"] + times["other"]) > 0
            shown = float(np.median(np.divide(times["other"], times["base"])))
            assert line.startswith(f"| {times['what']} |") and f"| {shown:.3f} |" in line


@pytest.mark.parametrize("flag,words", [
    ("--suite=gaurd", "--suite=gaurd is none; did you mean 'guard'?; there are: checkpoint, compile, "),
    ("--suite=data --case=nothing --tiny", "--case=nothing: data has none of that name"),
    ("--rounds=0", "--rounds=0 must be above 0")])
def test_a_mistake_is_one_line(flag, words):
    done = quick("bench", *flag.split())
    assert done.code == 1 and words in done.err and done.err.count("\n") == 1
