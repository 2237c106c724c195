"""Tasks: what a model says of held-out examples, measured beside a trivial baseline in the same report.

A task is found by the name of its file, which has `task(lm) -> Task` and, where a model may do it that learned from
other data, READS: the kind of examples that it is measured on.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmlab import config as configs
from lmlab.eval.metrics import interval
from lmlab.utils import modules
from lmlab.utils.errors import UserError

TRIALS = 1000


class Task(NamedTuple):
    """How a task is measured. What a system says of N examples is one column, `said`: an array or a list of N items.

    Attributes:
      predict: examples -> said, by the model; with `learns` (training examples, examples) -> said. baselines: {name:
        (training examples, examples) -> said}.
      gold: examples -> the columns that are compared with. statistics: {name: (said, *gold) -> a number}, the first the
        one that the task is known by. slices: examples -> {name: the places of those that belong to it}.
      parts: (said, *gold) -> {name: (how many, the first metric of them)} of what lies within examples, as each type of
        entity. draw: (folder, said, *gold) writes pictures, or what was said; None: neither. notes: examples -> {name:
        a line to publish with the metrics}.
    """
    predict: Callable
    baselines: dict[str, Callable]
    gold: Callable
    statistics: dict[str, Callable]
    slices: Callable = lambda examples: {}
    parts: Callable = lambda said, *gold: {}
    draw: Callable | None = None
    notes: Callable = lambda examples: {}
    learns: bool = False


def find(name) -> Any:
    """Returns the module `lmlab.eval.tasks.NAME`; a UserError names the nearest where there is none."""
    return modules.find(sys.modules[__name__], name, "task", f"--task={name} is no task")


def check_settings(function, given) -> None:
    """Raises a UserError where `function` does not take one of these settings."""
    for name, value in given.items():
        if name not in configs.defaults(function):
            raise UserError(f"--{name}={value} changes nothing in what is measured here; leave it out")


def measure(task, train, held, folder=None) -> dict:
    """The report of a task on the examples `held`, the baselines having learned from `train`.

    Returns:
      {"examples", "model": {metric: {"value", "low", "high"}}, "baselines": {name: the same}, "difference": {the first
      metric: {name: the model's less the baseline's, paired}}, "slices": {name: {"examples", the first metric: value}},
      "parts": {name: {"items", the first metric: value}}, "notes": {name: line}}; intervals are of 95 %, by bootstrap
      over examples.
    """
    gold = task.gold(held)
    said = {"model": task.predict(train, held) if task.learns else task.predict(held)}
    said |= {name: say(train, held) for name, say in task.baselines.items()}
    scores = {name: {metric: _score(statistic, column, gold) for metric, statistic in task.statistics.items()}
              for name, column in said.items()}
    first, statistic = next(iter(task.statistics.items()))
    differences = {name: dict(zip(("value", "low", "high"), interval.difference(
        statistic, said["model"], said[name], *gold, trials=TRIALS))) for name in task.baselines}
    part = lambda places: float(statistic(*(_at(column, places) for column in (said["model"], *gold))))
    slices = {name: {"examples": len(places), first: part(places)} for name, places in task.slices(held).items()
              if len(places)}
    parts = {name: {"items": int(count), first: float(value)}
             for name, (count, value) in task.parts(said["model"], *gold).items()}
    if folder is not None and task.draw:
        task.draw(folder, said["model"], *gold)
    return {"examples": len(held), "model": scores.pop("model"), "baselines": scores,
            "difference": {first: differences}, "slices": slices, "parts": parts, "notes": task.notes(held)}


def by_length(examples) -> dict:
    """The places of the examples of each quarter by the length of their texts: slices of a task."""
    order = np.argsort([len(one["text"]) for one in examples], kind="stable")
    names = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
    return dict(zip(names, np.array_split(order, 4)))


def _score(statistic, said, gold):
    low, high = interval.bootstrap(statistic, said, *gold, trials=TRIALS)
    return {"value": float(statistic(said, *gold)), "low": low, "high": high}


def _at(column, places):
    """The items of a column at some places."""
    return column[places] if isinstance(column, np.ndarray) else [column[place] for place in places]


def table(report) -> str:
    """A report, for people: a line a system, a column a metric."""
    metrics = list(report["model"])
    rows = [(f"{report['examples']:,} examples", *metrics)]
    rows += [(name, *(_cell(scores[metric]) for metric in metrics))
             for name, scores in {"model": report["model"], **report["baselines"]}.items()]
    for metric, differences in report["difference"].items():
        rows += [(f"model - {name}", *(_cell(scores, "+") if m == metric else "" for m in metrics))
                 for name, scores in differences.items()]
    for unit, parts in (("examples", report["slices"]), ("items", report["parts"])):
        rows += [("", *("" for _ in metrics))] if parts else []
        rows += [(f"{name} ({part[unit]:,})", f"{part[metrics[0]]:.3f}", *("" for _ in metrics[1:]))
                 for name, part in parts.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(metrics) + 1)]
    right = lambda row: (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
    lines = ["  ".join([row[0].ljust(widths[0]), *right(row)]).rstrip() for row in rows]
    return "\n".join([*lines, *([""] if report["notes"] else []), *(f"{name}: {line}" for name, line in
                                                                  report["notes"].items())])


def _cell(score, sign=""):
    if np.isnan(score["value"]):  # what this system does not say
        return "–"
    return f"{score['value']:{sign}.3f} ({score['low']:{sign}.3f} – {score['high']:{sign}.3f})"
