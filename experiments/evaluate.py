"""Scores text files, or a split of a run's own data, with a trained model: loss, perplexity, bits per byte; and a model
for a task by the measures of the task, beside its baselines.

    ./run.sh evaluate --run=runs/x --path="notes/*.txt"
    ./run.sh evaluate --run=runs/x --split=test
    ./run.sh evaluate --run=runs/a,runs/b,runs/c --split=test --ensemble=vote
"""

import sys
import tempfile
from pathlib import Path

from absl import flags

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError
from lmlab.utils.files import json_text, write_json

RUN = flags.DEFINE_list("run", None, "A run folder, or several with commas between; with --path also a Hugging Face "
                        "folder, .gguf file, catalog:X.", required=True)
ENSEMBLE = flags.DEFINE_string("ensemble", "average", "How several answer as one: average (of probabilities), vote, or "
                               "weights (one network with the mean of their weights).")
PATH = flags.DEFINE_string("path", "", "Files to score (as config.data.path); empty: a split of the run's own data.")
SPLIT = flags.DEFINE_string("split", "validation", "The split, where no path is given.")
FIELD = flags.DEFINE_string("field", "text", "The column of .csv or .jsonl files that holds the text.")
STEP = flags.DEFINE_string("step", "newest", "Which checkpoint: newest, best, or its number.")
BATCH = flags.DEFINE_integer("batch", 16, "Rows at once.")
TASK = flags.DEFINE_string("task", "", "What is measured; empty: the task that the run was trained for, if any.")
JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of the table.")


def main():
    """Scores every token of the text, or every example of the task, once, and prints the result."""
    from lmlab import run
    from lmlab.data import corpus, store
    from lmlab.eval import baselines, perplexity
    environment.set_up_jax()
    if BATCH.value < 1:
        raise UserError(f"--batch={BATCH.value} must be at least 1")
    lm = run.together([run.load(folder, STEP.value) for folder in RUN.value or [""]], ENSEMBLE.value)
    _check(lm)
    if TASK.value or run.reads(lm.config):
        return print(_task(lm))
    objective = run.build_objective(lm.config, lm.tokenizer.vocab_size)
    with tempfile.TemporaryDirectory() as scratch:
        if PATH.value:
            text = corpus.whole(PATH.value, field=FIELD.value)
            data = run.Data(text, lm.tokenizer, store.prepare(text, lm.tokenizer, scratch + "/tokens"))
            split, documents = data.split("all"), text.documents("all")
        else:
            data = run.prepare(lm.config, lm.tokenizer)
            _check_texts(data)
            split, documents = data.split(SPLIT.value), data.corpus.documents(SPLIT.value)
        unit = run.unit(lm.config)
        batches = run.eval_batches(lm.config, split, lm.tokenizer, BATCH.value)
        score = perplexity.evaluator(lm.model, objective, batches, split.meta, unit=unit)
        scores = score(lm.params) | {"bytes": split.meta["bytes"], "documents": split.meta["documents"], "step": lm.step}
        scores |= baselines.lzma_bits_per_byte([], documents) if unit == "text" else {}
    print(json_text(scores) if JSON.value else
          "\n".join(f"{name:22}{value:14,.6g}" for name, value in scores.items()), file=sys.stdout)


def _task(lm):
    """Measures the task; the report is kept in the run's folder evaluation/ too."""
    from lmlab import run
    from lmlab.data import corpus
    from lmlab.eval import tasks
    name = TASK.value or lm.config.objective.name
    together = "" if len(RUN.value) == 1 else f"-{ENSEMBLE.value}"
    folder = Path(RUN.value[0]) / "evaluation" / (name + together)
    data = run.prepare(lm.config, lm.tokenizer, lm.labels)
    if PATH.value:
        held = list(corpus.whole(PATH.value, field=FIELD.value, reads=run.reads(lm.config)).examples("all"))
    else:
        _check_texts(data)
        held = data.split(SPLIT.value).examples
    report = tasks.measure(tasks.find(name).task(lm), data.split("train").examples, held, folder)
    report |= {"runs": RUN.value} if together else {}
    write_json(folder / f"{SPLIT.value if not PATH.value else 'path'}.json", report)
    return json_text(report) if JSON.value else tasks.table(report)


def _check_texts(data):
    """Raises a UserError where a run was trained on other text or splits: it may have seen what it is measured on."""
    from lmlab import run
    for folder in RUN.value:
        run.check_text(folder, data)


def _check(lm):
    """Raises a UserError for a model from elsewhere that has nothing to be scored on, or nothing to predict with."""
    if "source" in lm.config and not PATH.value:
        raise UserError(f"{RUN.value[0]} is no run and has no data of its own; name the text to score with --path=")
    if lost := [part for part in lm.config.get("extras", {}).get("missing", ()) if part.startswith("head_transform")]:
        raise UserError(f"{RUN.value[0]} has no weights for {lost[0]}, so that it predicts no tokens; get the model "
                        "with its language-modelling head")


if __name__ == "__main__":
    cli.run(main)
