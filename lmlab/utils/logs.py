"""The record of a run as it goes: metrics.jsonl, TensorBoard events, and a progress bar."""

import json
import os
import shutil
import platform
import struct
import sys
import time
from pathlib import Path

import jax
from tqdm import tqdm

from lmlab.utils.files import Appender, json_text, write_text

METRICS = "metrics.jsonl"
CLOCKS = ("seconds", "spent", "tokens_per_second", "input_wait", "mfu")  # of its rows: no two runs have the same
# What the wall time of a run goes into; "lost": steps after the last save of a session that was killed, taken again.
PARTS = ("step", "input", "compile", "evaluation", "checkpoint", "lost", "other")


def read_metrics(folder) -> list[dict]:
    """The rows of a run's metrics.jsonl, a half-written last line left out; [] where there is none."""
    return read_rows(Path(folder) / METRICS)


def read_rows(path) -> list[dict]:
    """The objects of a .jsonl file with a line or more a step, a half-written last line left out; [] without a file."""
    return check_rows(path)[0]


def check_rows(path) -> tuple[list[dict], list[int]]:
    """(rows, damaged): also the numbers of the lines that hold no row; not the last one's, where a kill cut it off.

    In the order of the steps: an evaluation that a stop kept from being made is written later.
    """
    rows, damaged = [], []
    lines = path.read_text("utf-8", "replace").split("\n") if path.is_file() else [""]
    for number, line in enumerate(lines, 1):
        try:
            row = {"step": 0, **json.loads(line)}
            if not all(isinstance(part, (int, float, dict, type(None))) for part in row.values()) \
                    or not isinstance(row["step"], int):
                raise TypeError
            rows.append(row)
        except (ValueError, TypeError, RecursionError):
            damaged += [number] if line and number < len(lines) else []
    return sorted(rows, key=lambda row: row["step"]), damaged


def go_on(path, start):
    """(rows, file): the rows of a .jsonl file up to step `start`, and the file with them alone, opened for more.

    Rows of later steps were left by a run that was killed after its last save: they come again.
    """
    rows, damaged = check_rows(path) if start else ([], [])
    if damaged:
        shutil.copyfile(path, f"{path}.corrupt")
        print(f"{path} is damaged: line {damaged[0]} is no row ({len(damaged)} such lines are left out); the file as "
              f"it was is {path}.corrupt", file=sys.stderr)
    rows = [r for r in rows if r["step"] <= start]
    write_text(path, "".join(json_text(r) + "\n" for r in rows))
    return rows, Appender(path)


class _Board:
    """TensorBoard's event file of a session that goes on from `start`.

    tensorboardX's own writer is a thread that dies of a full disk; the queue to it then hangs the run.
    """

    def __init__(self, folder, start):
        from tensorboardX.proto.event_pb2 import SessionLog
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        self._file = Appender(folder / name)
        self._add(file_version="brain.Event:2")
        if start:  # what an earlier session wrote of later steps does not count
            self._add(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step, metrics):
        """Adds a value of each metric."""
        from tensorboardX.proto.summary_pb2 import Summary
        self._add(step=step, summary=Summary(value=[Summary.Value(tag=n, simple_value=v) for n, v in metrics.items()]))

    def _add(self, **fields):
        """An Event as a TFRecord: its size, the size's checksum, the event, its checksum."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c
        data = Event(wall_time=time.time(), **fields).SerializeToString()
        size = struct.pack("<Q", len(data))
        self._file.write(b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (size, data)))

    def close(self):
        """Closes the file."""
        self._file.close()


class Spent:
    """Counts seconds of wall time for one of PARTS at a time, "other" at first. before: what earlier sessions counted.
    """

    def __init__(self, before=None, now=time.monotonic):
        self._now, self._part, self._since = now, "other", now()
        self._seconds = dict.fromkeys(PARTS, 0.0) | (before or {})

    def on(self, part):
        """Counts for `part` from now on."""
        before, self._since = self._since, self._now()
        self._seconds[self._part] += self._since - before
        self._part = part

    @property
    def seconds(self) -> dict[str, float]:
        """{part: seconds} so far; their sum is the wall time."""
        self.on(self._part)
        return dict(self._seconds)


def _spent_before(rows, start):
    """What rows of sessions that go on at step `start` say of their wall time, that of later steps being lost."""
    def newest(rows):
        row = max(rows, key=lambda row: row.get("seconds") or 0.0, default={})
        told = row["spent"] if isinstance(row.get("spent"), dict) else {}
        return row.get("seconds") or 0.0, {p: told[p] for p in PARTS if isinstance(told.get(p), (int, float))}
    total, _ = newest(rows)
    kept, parts = newest([r for r in rows if r["step"] <= start])
    parts["lost"] = parts.get("lost", 0.0) + total - kept
    return parts | {"other": total - sum(s for part, s in parts.items() if part != "other")}


class RunLog:
    """Writes metrics of a run that begins, or goes on, at step `start` of `steps`.

    Attributes:
      tokens_before: tokens seen up to start. evaluated: the steps whose evaluation is there already.
      spent: a Spent, earlier sessions included.
    """

    def __init__(self, folder, *, start, steps, process=None):
        self.folder = Path(folder)
        self._on = (jax.process_index() if process is None else process) == 0  # one of several writes
        rows = read_metrics(folder) if start else []
        self.spent = Spent(_spent_before(rows, start))
        rows = [r for r in rows if r["step"] <= start]
        if self._on:
            rows, self._file = go_on(self.folder / METRICS, start)
            self._board = _Board(self.folder, start)
        self.evaluated = {r["step"] for r in rows if "tokens_seen" not in r}
        self.tokens_before = max((r.get("tokens_seen") or 0.0 for r in rows), default=0.0)
        self._bar = tqdm(total=steps, initial=start, unit="step", disable=not self._on, dynamic_ncols=True,
                         mininterval=0.2 if sys.stderr.isatty() else 10.0)

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, earlier sessions included."""
        return sum(self.spent.seconds.values())

    def advance(self, step):
        """Moves the progress bar to `step`."""
        self._bar.update(step - self._bar.n)

    def write(self, step, metrics, shown=()):
        """Adds a row; the bar shows the metrics named in `shown`."""
        if not self._on:
            return
        spent = {part: round(seconds, 3) for part, seconds in self.spent.seconds.items()}
        row = {"step": step, **metrics, "seconds": round(sum(spent.values()), 3), "spent": spent}
        self._file.write(json_text(row) + "\n")
        self._board.write(step, metrics)
        if shown:
            self._bar.set_postfix_str(", ".join(f"{n} {metrics[n]:.4g}" for n in shown if n in metrics), refresh=False)

    def say(self, text):
        """Prints a line above the bar."""
        if self._on:
            self._bar.write(text, file=sys.stderr)

    def close(self):
        """Ends the bar and the files."""
        self._bar.close()
        if self._on:
            self._file.close()
            self._board.close()
