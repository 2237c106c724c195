"""The record of a run as it goes: metrics.jsonl, TensorBoard events, and a progress bar."""

import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from lmlab.utils.files import json_text, write_text

METRICS = "metrics.jsonl"


def read_metrics(folder) -> list[dict]:
    """The rows of a run's metrics.jsonl, a half-written last line left out; [] where there is none."""
    path = Path(folder) / METRICS
    rows = []
    for line in path.read_text("utf-8", "replace").split("\n") if path.is_file() else []:
        try:
            rows.append({"step": 0, **json.loads(line)})
        except (ValueError, TypeError):
            continue
    return rows


class RunLog:
    """Writes metrics of a run that begins, or goes on, at step `start` of `steps`.

    Rows of later steps, left by a run that was killed after its last save, are dropped: they come again.
    """

    def __init__(self, folder, *, start, steps, process=0):
        from tensorboardX import SummaryWriter
        self.folder = Path(folder)
        rows = [r for r in read_metrics(folder) if r["step"] <= start] if start else []
        self._before = max((r.get("seconds", 0.0) for r in rows), default=0.0)
        self.tokens_before = max((r.get("tokens_seen", 0.0) for r in rows), default=0.0)
        self._began = time.monotonic()
        self._on = process == 0
        if self._on:
            write_text(self.folder / METRICS, "".join(json_text(r) + "\n" for r in rows))
            self._file = open(self.folder / METRICS, "a", buffering=1, encoding="utf-8")
            self._board = SummaryWriter(str(self.folder), purge_step=start + 1 if start else None)
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
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
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
