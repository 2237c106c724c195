"""Scores text files, or a split of a run's own data, with a trained model: loss, perplexity, bits per byte; and a model
for a task by the measures of the task, beside its baselines.

    ./run.sh evaluate --run=runs/x --path="notes/*.txt"
    ./run.sh evaluate --run=runs/x --split=test
    ./run.sh evaluate --run=runs/x --task=translation --beams=4 --path=test.en+test.de
    ./run.sh evaluate --run=runs/a,runs/b,runs/c --split=test --ensemble=vote
"""

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
PATH = flags.DEFINE_string("path", "", "Files to score (as config.data.path), or catalog:NAME; empty: a split of the "
                           "run's own data.")
SPLIT = flags.DEFINE_string("split", "validation", "The split, where no path is given.")
FIELD = flags.DEFINE_string("field", "", "What of a table is read (as config.data.field); empty: as in training.")
STEP = flags.DEFINE_string("step", "newest", "Which checkpoint: newest, best, or its number.")
BATCH = flags.DEFINE_integer("batch", 16, "Rows at once.")
TASK = flags.DEFINE_string("task", "", "What is measured; empty: the task that the run was trained for, if any.")
BEAMS = flags.DEFINE_integer("beams", 1, "Of texts that are written: 1: greedily.")
LENGTH_PENALTY = flags.DEFINE_float("length_penalty", 1.0, "Of beams, as for generate.")
SPANS = flags.DEFINE_string("spans", "", "Of relations: a run of tagging that finds the spans; empty: they are given.")
SHOTS = flags.DEFINE_integer("shots", 4, "Of in_context: examples of each label in the prompt.")
JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of the table.")


def main():
    """Scores every token of the text, or every example of the task, once, and prints the result."""
    from lmlab import run
    from lmlab.data import corpus, store
    from lmlab.eval import baselines, perplexity, tasks
    environment.set_up_jax()
    if BATCH.value < 1:
        raise UserError(f"--batch={BATCH.value} must be at least 1")
    lm = run.together([run.load(folder, STEP.value) for folder in RUN.value or [""]], ENSEMBLE.value)
    task = TASK.value or run.task(lm.config)
    _check(lm, task)
    given = {flag.name: flag.value for flag in (BEAMS, LENGTH_PENALTY, SPANS, SHOTS) if flag.value != flag.default}
    if task:
        return print(_task(lm, task, given))
    tasks.check_settings(perplexity.evaluator, given)
    objective = run.build_objective(lm.config, lm.tokenizer.vocab_size)
    with tempfile.TemporaryDirectory() as scratch:
        if PATH.value:
            text = corpus.whole(PATH.value, field=FIELD.value or lm.config.data.field)
            data = run.Data(text, lm.tokenizer, store.prepare(text, lm.tokenizer, scratch + "/tokens"))
            split, documents = data.split("all"), text.documents("all")
        else:
            data = run.prepare(lm.config, lm.tokenizer, lm.labels)
            for folder in RUN.value:
                run.check_text(folder, data)
            split, documents = data.split(SPLIT.value), data.corpus.documents(SPLIT.value)
        unit = run.unit(lm.config)
        batches = run.eval_batches(lm.config, split, lm.tokenizer, BATCH.value, labels=lm.labels)
        score = perplexity.evaluator(lm.model, objective, batches, split.meta, unit=unit)
        scores = score(lm.params) | {name: split.meta[name] for name in ("bytes", "documents")} | {"step": lm.step}
        scores |= baselines.lzma_bits_per_byte([], documents) if unit == "text" else {}
    print(json_text(scores) if JSON.value else
          "\n".join(f"{name:22}{value:14,.6g}" for name, value in scores.items()))


def _task(lm, name, given):
    """Measures the task; of a run the report is kept in its folder evaluation/ too, with what was said."""
    from lmlab.eval import heldout, tasks
    module, ours = tasks.find(name), "source" not in lm.config
    tasks.check_settings(module.task, given)
    task = module.task(lm, **given)
    train, held = heldout.examples(lm, RUN.value if ours else [], getattr(module, "READS", None), path=PATH.value,
                                   field=FIELD.value, split=SPLIT.value, learns=task.learns)
    together = f"-{ENSEMBLE.value}" if len(RUN.value) > 1 else ""
    folder = Path(RUN.value[0]) / "evaluation" / (name + together) if ours else None
    report = tasks.measure(task, train, held, folder)
    if ours:
        write_json(folder / f"{'path' if PATH.value else SPLIT.value}.json", report | {"runs": RUN.value})
    return json_text(report) if JSON.value else tasks.table(report)


def _check(lm, task):
    """Raises a UserError for a model from elsewhere that has nothing to be scored on, or, without a task, nothing to
    predict with."""
    if "source" in lm.config and not PATH.value:
        raise UserError(f"{RUN.value[0]} is no run and has no data of its own; name the text to score with --path=")
    lost = [part for part in lm.config.get("extras", {}).get("missing", ()) if part.startswith("head_transform")]
    if lost and not task:
        raise UserError(f"{RUN.value[0]} has no weights for {lost[0]}, so that it predicts no tokens; get the model "
                        "with its language-modelling head")


if __name__ == "__main__":
    cli.run(main)
