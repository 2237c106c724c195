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


class RunLog:
    """Writes metrics of a run that begins, or goes on, at step `start` of `steps`.

    Attributes:
      tokens_before: tokens seen up to start. evaluated: the steps whose evaluation is there already.
    """

    def __init__(self, folder, *, start, steps, process=None):
        self.folder = Path(folder)
        self._on = (jax.process_index() if process is None else process) == 0  # one of several writes
        rows = [r for r in read_metrics(folder) if r["step"] <= start] if start else []
        if self._on:
            rows, self._file = go_on(self.folder / METRICS, start)
            self._board = _Board(self.folder, start)
        self.evaluated = {r["step"] for r in rows if "tokens_seen" not in r}
        self._before = max((r.get("seconds") or 0.0 for r in rows), default=0.0)
        self.tokens_before = max((r.get("tokens_seen") or 0.0 for r in rows), default=0.0)
        self._began = time.monotonic()
        self._bar = tqdm(total=steps, initial=start, unit="step", disable=not self._on, dynamic_ncols=True,
                         mininterval=0.2 if sys.stderr.isatty() else 10.0)

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, earlier sessions included."""
        return self._before + time.monotonic() - self._began

    def advance(self, step):
        """Moves the progress bar to `step`."""
        self._bar.update(step - self._bar.n)

    def write(self, step, metrics, shown=()):
        """Adds a row; the bar shows the metrics named in `shown`."""
        if not self._on:
            return
        self._file.write(json_text({"step": step, **metrics, "seconds": round(self.seconds, 3)}) + "\n")
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
