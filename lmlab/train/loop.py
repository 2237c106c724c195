"""The one loop: batches in, steps, evaluations, checkpoints. It knows no tokenizer, evaluator or config file."""

import contextlib
import dataclasses
import time

import jax
import numpy as np

from lmlab.data.loader import prefetch
from lmlab.train import progress
from lmlab.train.ledger import Ledger
from lmlab.utils.errors import UserError
from lmlab.utils.process import Stopped, Watchdog


@dataclasses.dataclass(frozen=True)
class Settings:
    """config.train: how long, how much at once, what is kept."""
    steps: int = 1000
    batch: int = 16               # rows of a step, on all devices together
    ramp: int = 0                 # steps in which batches grow to that many rows, by doubling; 0: they do not
    ramp_from: int = 1            # rows of the first batch then
    length: int = 0               # tokens of a row; 0: model.context
    windows: str = "stream"       # stream: rows cut from one long text; packed: whole documents, kept apart
    accumulation: int = 1         # pieces of the batch, one after the other
    precision: str = "float32"    # of the computation: float32, bfloat16; parameters are float32
    parallel: str = "jit"         # jit (any mesh), pmap (a copy of the model on each device)
    log_every: int = 10           # steps
    save_every: int = 0           # steps; 0: at evaluations only
    keep: int = 2                 # the newest checkpoints; the best one stays too
    keep_every: int = 0           # so does every so-manieth step; 0: none
    average: float = 0.0          # decay a step of a moving average of the parameters, which is then used; 0: off
    patience: int = 0             # evaluations in a row without a better score that end the run; 0: none do
    max_skips: int = 10           # steps in a row, not finite and so left out, that end the run
    spikes: float = 0.0           # also leaves out a loss so many standard deviations over the rolling mean; 0: off
    watchdog: float = 1800.0      # seconds without a batch or a step that end the process; 0: off
    damaged_rows: int = 0         # times that a session may leave out a row whose tokens are damaged on the disk
    ledger: bool = False          # write down which rows each step took (ledger.jsonl)

    def __post_init__(self):
        for name, low in {"steps": 1, "batch": 1, "accumulation": 1, "log_every": 1, "keep": 1, "max_skips": 1,
                          "ramp": 0, "ramp_from": 1, "length": 0, "save_every": 0, "keep_every": 0, "spikes": 0,
                          "watchdog": 0, "damaged_rows": 0, "average": 0, "patience": 0}.items():
            if not getattr(self, name) >= low:
                raise UserError(f"config.train.{name}={getattr(self, name)} must be at least {low}")
        for name, known in {"precision": ("float32", "bfloat16"), "windows": ("stream", "packed"),
                            "parallel": ("jit", "pmap")}.items():
            if getattr(self, name) not in known:
                raise UserError(f"config.train.{name}={getattr(self, name)!r} is unknown; one of {', '.join(known)}")
        if not self.average < 1:
            raise UserError(f"config.train.average={self.average} must be below 1")
        times = self.batch // self.ramp_from
        if self.ramp and (times & (times - 1) or times * self.ramp_from != self.batch or times == 1):
            raise UserError(f"config.train.ramp_from={self.ramp_from}, doubled again and again, does not become "
                            f"config.train.batch={self.batch}")


@dataclasses.dataclass(frozen=True)
class Evals:
    """config.evals: what is measured on the way, always before the first and after the last step."""
    every: int = 0                # steps; 0: a quarter of the run
    batch: int = 0                # rows at once; 0: as many as a piece of train.batch
    best: str = "loss"            # the score that tells the best checkpoint, and when to stop or slow down
    plateau: int = 0              # evaluations in a row without a better one after which the rate falls; 0: it does not
    plateau_factor: float = 0.5   # to so many times what it was
    samples: int = 1              # texts written at each evaluation
    sample_tokens: int = 200
    prompt: str = ""              # they begin with; "": a new document
    temperature: float = 0.8      # of the samples; 0: the most likely text
    baselines: bool = True        # lzma and unigram on the held-out text, at the end
    task: str = ""                # what `evaluate` measures; "": the objective's own, where it has one

    def __post_init__(self):
        for name in ("every", "batch", "samples", "sample_tokens", "temperature", "plateau", "plateau_factor"):
            if not getattr(self, name) >= 0:
                raise UserError(f"config.evals.{name}={getattr(self, name)} must not be negative")


@dataclasses.dataclass
class Report:
    """What a call of `train` did."""
    step: int
    compile_seconds: float = 0.0   # of the first step of each shape: compilation, or reading the compilation cache
    stopped: bool = False          # by a signal, before the last step
    scores: dict = dataclasses.field(default_factory=dict)


def train(strategy, state, batches, checkpoints, log, *, settings, eval_every, evaluate, stop,
          evals=Evals(), ceiling=0.0) -> tuple[dict, Report]:
    """Runs from the state's step to settings.steps; returns the state and a Report.

    The metrics of step n are read while step n + 1 runs. A signal ends it after the step under way, saved; of several
    processes, all after the step in which they read that one of them wants to.

    log.spent counts what this thread waits for. "input" is time without a batch and without a step under way: where the
    next batch is not there, the step before it is awaited first, as "step". Batches are made, and put on the devices,
    by a thread beside the steps. "compile" is the first step of a session and of each size of batch, compiled and run;
    an evaluation's compilation, and its samples, are "evaluation".

    Args:
      strategy: a step.Strategy. state: as strategy.init or strategy.place gives. batches: batches[i] is step i's.
      checkpoints: a Checkpoints. log: a RunLog. evaluate: (step, parameters) -> scores, of which
        evals.best chooses the best checkpoint. stop: a StopSignals.
      ceiling: tokens a second at the peak rate of all devices, of which throughput is told as a share ("mfu"); 0: none.
    Raises:
      UserError: where settings.max_skips steps in a row had to be left out, or a checkpoint could not be saved.
    """
    start = int(strategy.collect(state)["step"])
    report = Report(start)
    meter, spent = _Meter(log, settings.log_every, settings.max_skips, ceiling), log.spent
    due = lambda step: step == settings.steps or step % eval_every == 0
    several, process = jax.process_count() > 1, jax.process_index()
    ended = (lambda: meter.stop) if several else (lambda: bool(stop))
    own = f".{process}" if process else ""  # in the names of files that each process writes

    def measure(step, params):
        """Whether it was not stopped before its end."""
        meter.flush()
        watch.at()
        spent.on("evaluation")
        try:
            with contextlib.nullcontext() if several else stop.at_once():
                report.scores = evaluate(step, params())
        except Stopped:
            return False
        log.write(step, report.scores)
        spent.on("step")
        meter.restart()
        return True

    def note(state, score):
        return state if score is None else progress.note(state, score, evals.plateau, evals.plateau_factor)

    def enough(state):
        """Whether the run has ended before its last step."""
        return settings.patience and int(strategy.collect(state)["extra"]["progress"]["since"]) >= settings.patience

    def make(i):
        batch = batches[i]
        return batch, strategy.put(batch)

    def waiting():
        meter.settle()
        spent.on("input")
        watch.at(f"the batch of step {report.step + 1}")

    with stop.deferred(), Watchdog(settings.watchdog, log.folder / f"stacks{own}.txt") as watch, \
            Ledger(log.folder / f"ledger{own}.jsonl", batches, start, settings.ledger) as ledger:
        if start and due(start) and start not in log.evaluated:  # a signal came between the step and its evaluation
            report.stopped = not measure(start, lambda: strategy.collect(state)["params"])
            state = note(state, None if report.stopped else progress.chosen(report.scores, evals.best))
        known = None  # shapes of a batch that the step is compiled for
        for i, (batch, placed) in prefetch(make, start, start if enough(state) else settings.steps, waiting):
            spent.on("step")
            if fresh := known != (known := jax.tree.map(np.shape, batch)):
                meter.flush()
                spent.on("compile")
            began = time.monotonic()
            step = report.step = i + 1
            watch.at(f"step {step}")
            checkpoints.poll()
            ledger.write(i, batch)
            if several:  # no round trip of its own: all read it with the metrics, in the same step
                placed |= strategy.put({"stop": np.full(batch["row"].shape, bool(stop))})
            state, metrics = strategy.step(state, placed)
            meter.add(step, metrics)
            if fresh:
                meter.flush(timed=False)
                spent.on("step")
                report.compile_seconds += time.monotonic() - began
            if i == start and 0 not in log.evaluated:  # only now: the first step should not wait for this too
                measure(0, strategy.init_params)
            evaluated = due(step) and not ended() and measure(step, lambda: strategy.collect(state)["params"])
            score = progress.chosen(report.scores, evals.best) if evaluated else None
            state = note(state, score)
            finished = evaluated and (step == settings.steps or enough(state))
            report.stopped = ended() and not finished
            if due(step) or report.stopped or settings.save_every and step % settings.save_every == 0:
                watch.at(f"saving step {step}")
                meter.flush()
                spent.on("checkpoint")
                checkpoints.save(step, strategy.collect(state), score)
                spent.on("step")
                meter.restart()
            if report.stopped or finished:
                break
        meter.flush()
        watch.at("the last save")
        spent.on("checkpoint")
        checkpoints.wait()
        spent.on("other")
    return state, report


class _Meter:
    """Reads the metrics of a step while the next one runs, and logs their mean every so many steps, those left out
    apart."""

    def __init__(self, log, every, max_skips, ceiling=0.0):
        self.stop = False  # whether a process wanted to, at the step read last
        self._log, self._every, self._max_skips, self._ceiling = log, every, max_skips, ceiling
        self._pending, self._rows, self._seen = None, [], log.tokens_before
        self.restart()

    def restart(self):
        """Leaves the time since the last step out of the throughput and of the share that input has."""
        spent = self._log.spent.seconds
        self._clock, self._waited = sum(spent.values()), spent["input"]

    def settle(self):
        """Waits for the newest step, and reads nothing: each process reads at the same step."""
        jax.block_until_ready(self._pending)

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
        row = {k: float(v) for k, v in jax.device_get(metrics).items()}
        self.stop = bool(row.pop("stop", 0))
        self._rows.append({"skipped": 0.0, "in_row": 0.0, **row})
        self._log.advance(self._step)
        if row.get("skipped"):
            self._tell(row)
        if self._step % self._every == 0:
            self._write(timed)

    def _write(self, timed=True):
        if not self._rows:
            return
        clock, waited = self._clock, self._waited
        self.restart()
        seconds, waited = max(self._clock - clock, 1e-9), self._waited - waited
        rows, self._rows = self._rows, []
        seen, good = sum(r["tokens"] for r in rows), [r for r in rows if not r["skipped"]]
        tokens = sum(r["tokens"] for r in good)
        means = {k: sum(r[k] * r["tokens"] for r in good) / max(tokens, 1e-9) for k in rows[0] if good}
        for name in ("tokens", "skipped", "in_row"):
            means.pop(name, None)
        if len(good) < len(rows):
            means["skipped"] = len(rows) - len(good)
        self._seen += seen
        means |= {"rate": rows[-1]["rate"], "tokens_seen": self._seen}
        if timed:
            means |= {"tokens_per_second": seen / seconds, "input_wait": waited / seconds}
            means |= {"mfu": seen / seconds / self._ceiling} if self._ceiling else {}
        self._log.write(self._step, means, shown=("loss", "tokens_per_second"))

    def _tell(self, row):
        """Says that a step was left out; a UserError where it is one too many."""
        what = f"step {self._step} is left out: loss {row['loss']:.4g}, gradient norm {row['grad_norm']:.4g}"
        self._log.say(what)
        if row["in_row"] >= self._max_skips:
            raise UserError(f"{what}, the last of {row['in_row']:.0f} in a row (config.train.max_skips); none of them "
                            "was applied or saved. Train in a new --workdir with a lower config.optimizer.rate, a "
                            "longer warmup or a smaller clip")
