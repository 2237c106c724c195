"""The one loop: batches in, steps, evaluations, checkpoints. It knows no tokenizer, evaluator or config file."""

import contextlib
import dataclasses
import signal
import time

import jax

from lmlab.data.loader import prefetch
from lmlab.utils.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """config.train: how long, how much at once, what is kept."""
    steps: int = 1000
    batch: int = 16               # rows of a step, on all devices together
    length: int = 0               # tokens of a row; 0: model.context
    windows: str = "stream"       # stream: rows cut from one long text; packed: whole documents, kept apart
    accumulation: int = 1         # pieces of the batch, one after the other
    precision: str = "float32"    # of the computation: float32, bfloat16; parameters are float32
    parallel: str = "jit"         # jit (any mesh), pmap (a copy of the model on each device)
    log_every: int = 10           # steps
    save_every: int = 0           # steps; 0: at evaluations only
    keep: int = 2                 # the newest checkpoints; the best one stays too
    keep_every: int = 0           # so does every so-manieth step; 0: none

    def __post_init__(self):
        for name, low in {"steps": 1, "batch": 1, "accumulation": 1, "log_every": 1, "keep": 1, "length": 0,
                          "save_every": 0, "keep_every": 0}.items():
            if getattr(self, name) < low:
                raise UserError(f"config.train.{name}={getattr(self, name)} must be at least {low}")
        for name, known in {"precision": ("float32", "bfloat16"), "windows": ("stream", "packed"),
                            "parallel": ("jit", "pmap")}.items():
            if getattr(self, name) not in known:
                raise UserError(f"config.train.{name}={getattr(self, name)!r} is unknown; one of {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class Evals:
    """config.evals: what is measured on the way, always before the first and after the last step."""
    every: int = 0                # steps; 0: a quarter of the run
    batch: int = 0                # rows at once; 0: as many as a piece of train.batch
    samples: int = 1              # texts written at each evaluation
    sample_tokens: int = 200
    prompt: str = ""              # they begin with; "": a new document
    temperature: float = 0.8      # of the samples; 0: the most likely text
    baselines: bool = True        # lzma and unigram on the held-out text, at the end

    def __post_init__(self):
        for name in ("every", "batch", "samples", "sample_tokens", "temperature"):
            if not getattr(self, name) >= 0:
                raise UserError(f"config.evals.{name}={getattr(self, name)} must not be negative")


@dataclasses.dataclass
class Report:
    """What a call of `train` did."""
    step: int
    compile_seconds: float = 0.0   # of the first step: compilation, or reading the compilation cache
    stopped: bool = False          # by a signal, before the last step
    scores: dict = dataclasses.field(default_factory=dict)


def train(strategy, state, batches, checkpoints, log, *, settings, eval_every, evaluate) -> tuple[dict, Report]:
    """Runs from the state's step to settings.steps; returns the state and a Report.

    The metrics of step n are read while step n + 1 runs. SIGINT or SIGTERM ends it after the step under way, saved; a
    second one at once.

    Args:
      strategy: a step.Strategy. state: as strategy.init or strategy.place gives. batches: batches[i] is step i's.
      checkpoints: a Checkpoints. log: a RunLog. evaluate: (step, parameters) -> scores; "val_loss" among
        them chooses the best checkpoint.
    """
    start = int(strategy.collect(state)["step"])
    report = Report(start)
    meter = _Meter(log, settings.log_every)

    def measure(step, params):
        meter.flush()
        report.scores = evaluate(step, params)
        log.write(step, report.scores)
        meter.restart()

    with _stop_signals() as stop:
        for i, batch in prefetch(batches, start, settings.steps):
            began = time.monotonic()
            state, metrics = strategy.step(state, strategy.put(batch))
            step = report.step = i + 1
            meter.add(step, metrics)
            if i == start:
                meter.flush(timed=False)
                report.compile_seconds = time.monotonic() - began
                if start == 0:  # only now: whoever waits for the first step should not wait for this as well
                    measure(0, strategy.init_params())
            last = step == settings.steps
            evaluating = last or step % eval_every == 0
            if evaluating:
                measure(step, strategy.collect(state)["params"])
            report.stopped = bool(stop) and not last
            due = settings.save_every and step % settings.save_every == 0
            if evaluating or due or report.stopped:
                meter.flush()
                checkpoints.save(step, strategy.collect(state), report.scores.get("val_loss") if evaluating else None)
                meter.restart()
            if report.stopped:
                break
        meter.flush()
        checkpoints.wait()
    return state, report


class _Meter:
    """Reads the metrics of a step while the next one runs, and logs their mean every so many steps."""

    def __init__(self, log, every):
        self._log, self._every = log, every
        self._pending, self._rows, self._seen = None, [], log.tokens_before
        self.restart()

    def restart(self):
        """Leaves the time since the last step out of the throughput."""
        self._clock = time.monotonic()

    def add(self, step, metrics):
        """Takes a step's metrics, still being computed, and logs those of the step before."""
        self._read()
        self._pending = (step, metrics)

    def flush(self, timed=True):
        """Waits for the newest step and logs what has gathered; timed=False: without a throughput."""
        self._read(timed)
        self._write(timed)

    def _read(self, timed=True):
        if self._pending is None:
            return
        (self._step, metrics), self._pending = self._pending, None
        self._rows.append({k: float(v) for k, v in jax.device_get(metrics).items()})
        self._log.advance(self._step)
        if self._step % self._every == 0:
            self._write(timed)

    def _write(self, timed=True):
        if not self._rows:
            return
        seconds, self._clock = time.monotonic() - self._clock, time.monotonic()
        rows, self._rows = self._rows, []
        tokens = sum(r["tokens"] for r in rows)
        means = {k: sum(r[k] * r["tokens"] for r in rows) / max(tokens, 1e-9) for k in rows[0] if k != "tokens"}
        self._seen += tokens
        means |= {"rate": rows[-1]["rate"], "tokens_seen": self._seen}
        if timed:
            means["tokens_per_second"] = tokens / max(seconds, 1e-9)
        self._log.write(self._step, means, shown=("loss", "tokens_per_second"))


@contextlib.contextmanager
def _stop_signals():
    """A list that fills when SIGINT or SIGTERM comes; the second signal acts as it would without this."""
    seen, before = [], {}

    def note(number, frame):
        seen.append(number)
        signal.signal(number, before[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread (a notebook's server, a test): signals are the caller's
        pass
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
