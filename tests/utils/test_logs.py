"""metrics.jsonl over several sessions: nothing twice, nothing lost, strict JSON."""

import json
import math
import time

import pytest

from lmlab.utils.logs import PARTS, RunLog, Spent, check_rows, read_metrics


def session(folder, start, steps, until):
    log = RunLog(folder, start=start, steps=steps)
    for step in range(start + 1, until + 1):
        log.write(step, {"loss": 10.0 - step, "tokens_seen": 100.0 * step}, shown=("loss",))
        log.advance(step)
    log.say("a line")
    log.close()
    return log


def test_rows_after_the_last_save_come_again_once(tmp_path):
    session(tmp_path, 0, 10, 7)          # killed at step 7, saved at 5
    session(tmp_path, 5, 10, 10)
    rows = read_metrics(tmp_path)
    assert [r["step"] for r in rows] == list(range(1, 11))
    assert [r["loss"] for r in rows] == [10.0 - s for s in range(1, 11)]


def test_a_start_from_nothing_drops_everything(tmp_path):
    session(tmp_path, 0, 10, 4)
    session(tmp_path, 0, 10, 2)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize("tail", [
    '{"step": 5, "lo', '{"step": 5, "loss": 1.0', "{", "\x00\x00\x00", "5\n", "[]\n", "\n\n"])
def test_a_half_written_last_line_is_left_out(tmp_path, tail):
    session(tmp_path, 0, 10, 4)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(tail)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 3, 4]
    session(tmp_path, 4, 10, 6)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_bytes_that_are_no_text_do_not_stop_a_run(tmp_path):
    session(tmp_path, 0, 10, 2)
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b"\xff\xfe\n")
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize("line", ["garbage", "{", "[]", '{"step": "3"}', '{"step": null}', '{"step": 3, "loss": "x"}',
                                  "\x00" * 20, "[" * 9000])
def test_a_damaged_line_is_said_and_the_file_kept_aside(tmp_path, line, capsys):
    session(tmp_path, 0, 10, 4)
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join([*rows[:2], line, *rows[2:], '{"step": 5, "lo']))
    assert check_rows(tmp_path / "metrics.jsonl")[1] == [3]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    session(tmp_path, 4, 10, 6)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert "metrics.jsonl is damaged: line 3 is no row" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl.corrupt").read_bytes() == before


def test_seconds_and_tokens_go_on(tmp_path):
    log = RunLog(tmp_path, start=0, steps=3)
    time.sleep(0.2)
    log.write(1, {"tokens_seen": 64.0})
    log.close()
    again = RunLog(tmp_path, start=1, steps=3)
    assert 0.2 <= again.seconds < 5 and again.tokens_before == 64.0
    again.close()


def test_each_second_is_counted_for_one_part():
    ticks = iter([100.0, 103.0, 103.5, 107.5, 108.0, 108.25])
    spent = Spent({"step": 10.0}, now=lambda: next(ticks))
    spent.on("input")        # 3 s of what came before: other
    spent.on("step")         # 0.5 of input
    spent.on("step")         # 4 of step
    spent.on("evaluation")   # 0.5 more
    assert spent.seconds == {**dict.fromkeys(PARTS, 0.0), "other": 3.0, "input": 0.5, "step": 14.5, "evaluation": 0.25}


def spend(log, **seconds):
    """Lets time pass, for the log."""
    for part, more in seconds.items():
        log.spent._seconds[part] += more


def test_what_sessions_spent_adds_up_and_what_a_kill_cost_is_lost(tmp_path):
    log = RunLog(tmp_path, start=0, steps=9)
    spend(log, step=20.0, compile=5.0)
    log.write(1, {"tokens_seen": 1.0})
    spend(log, step=10.0, checkpoint=1.0)
    log.write(2, {"tokens_seen": 2.0})    # saved at 2
    spend(log, step=30.0, input=4.0)
    log.write(3, {"tokens_seen": 3.0})    # killed
    log.close()
    log = RunLog(tmp_path, start=2, steps=9)
    spend(log, step=7.0, compile=2.0)
    log.write(3, {"tokens_seen": 3.0})
    log.close()
    again = RunLog(tmp_path, start=3, steps=9)
    expected = dict(step=37.0, compile=7.0, checkpoint=1.0, input=0.0, evaluation=0.0, lost=34.0, other=0.0)
    assert again.spent.seconds == pytest.approx(expected, abs=0.9)
    assert again.seconds == pytest.approx(79.0, abs=0.9) and read_metrics(tmp_path)[-1]["seconds"] >= 79.0
    again.close()


@pytest.mark.parametrize("spent", ["", ', "spent": null', ', "spent": 3', ', "spent": {"step": "x", "rest": 9}'])
def test_time_of_which_a_row_does_not_tell_is_other(spent, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 50.0%s}\n' % spent)
    log = RunLog(tmp_path, start=1, steps=3)
    assert log.spent.seconds == pytest.approx({**dict.fromkeys(PARTS, 0.0), "other": 50.0}, abs=0.5)
    log.close()


def test_numbers_that_json_has_not_are_null(tmp_path):
    log = RunLog(tmp_path, start=0, steps=3)
    log.write(1, {"loss": math.nan, "val_word_perplexity": math.inf, "fine": 1.5})
    log.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert row["loss"] is None and row["val_word_perplexity"] is None and row["fine"] == 1.5


def test_other_processes_write_nothing(tmp_path):
    log = RunLog(tmp_path, start=0, steps=3, process=1)
    log.write(1, {"loss": 1.0})
    log.say("hush")
    log.close()
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c
    session(tmp_path, 0, 3, 3)
    data, found = next(tmp_path.glob("events.*")).read_bytes(), []
    while data:  # length, checksum, data, checksum
        size = int.from_bytes(data[:8], "little")
        for start, end in ((0, 8), (12, 12 + size)):
            assert int.from_bytes(data[end:end + 4], "little") == masked_crc32c(data[start:end])
        event = Event.FromString(data[12:12 + size])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + size:]
    assert [(s, v) for s, tag, v in found if tag == "loss"] == [(1, 9.0), (2, 8.0), (3, 7.0)]
