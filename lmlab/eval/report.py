"""What a training run is measured by on the way, and the account it gives at its end: summary, plots, table."""

import dataclasses
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from lmlab import config as configs
from lmlab import run
from lmlab.eval import baselines, perplexity, samples
from lmlab.models import flops, nf4
from lmlab.train import sharding
from lmlab.utils import chips, sealed
from lmlab.utils.files import finite, write_text
from lmlab.utils.logs import CLOCKS, read_metrics

BASELINE_BATCHES = 2000
BASELINES = ("lzma_bits_per_byte", "lzma_primed_bits_per_byte", "unigram_bits_per_byte", "unigram_loss",
             "unigram_accuracy", "overlap_accuracy")
TOLD = {"loss": "loss", "bits_per_byte": "bits per byte", "accuracy": "accuracy", "pair_accuracy": "pairs",
        "replaced_accuracy": "replaced or not", "margin": "margin"}


def make_evaluation(config, workdir, data, model, objective, mesh, log):
    """(step, params) -> {"val_loss", "val_perplexity", ...}: exact scores over the validation split; writes samples of
    a model that makes text, to samples/STEP.txt.
    """
    split = data.split("validation")
    ways = sharding.ways(mesh.shape)
    rows = -(-(config.evals.batch or config.train.batch // config.train.accumulation) // ways) * ways
    on_mesh = config.train.parallel == "jit"
    # pmap scores on one device of each process, which then has to see every row; jit sums over all devices.
    part = sharding.share(mesh) if on_mesh else (0, 1)
    make = lambda rows, *part: run.eval_batches(config, split, data.tokenizer, rows, *part, labels=data.labels)
    batches, shown = make(rows, *part), make(max(1, config.evals.samples))  # the second are alike in every process
    put = (lambda b: sharding.put_batch(b, mesh, part)) if on_mesh else (lambda b: b)
    score = perplexity.evaluator(model, objective, batches, split.meta, put, run.unit(config))
    score = sharding.on_mesh(mesh, score) if on_mesh else score

    def evaluate(step, params):
        scores = score(params)
        if config.evals.samples and config.evals.sample_tokens and run.predicts(config):
            lm = run.LM(model, jax.tree.map(_own, params), data.tokenizer, config, step)
            text = samples.write(lm, shown, config.evals, config.seed)
            if jax.process_index() == 0:
                write_text(Path(workdir) / "samples" / f"{step}.txt", text)
        told = [f"{label} {scores[name]:.4f}" for name, label in TOLD.items() if name in scores]
        log.say(f"step {step}: held-out {', '.join(told)}")
        return {f"val_{name}": value for name, value in scores.items()}
    return evaluate


def _own(array):
    """The array whole in this process, where several share it: each makes the samples, as the others would wait."""
    alone = getattr(array, "is_fully_addressable", True)  # pmap's state, just restored, is numpy
    return array if alone else multihost_utils.process_allgather(array, tiled=True)


def operations(config, data, spec, shapes) -> tuple[float, float]:
    """(operations of training a token, tokens a second at the peak rate of all devices or 0 where that is not known).

    The first is by the convention of lmlab/models/flops.py, a whole row's over its tokens, those of an encoder too; the
    second by lmlab/utils/chips.py. spec: the model's keyword arguments. shapes: of its parameters.
    """
    batch = run.padding(config, data)
    length, source = (batch[name].shape[1] if name in batch else 0 for name in ("tokens", "encoder_tokens"))
    each = flops.train_step(spec, shapes, 1, length, source, run.targets(config, spec, length)) / (length + source)
    chip = chips.find(jax.devices()[0].device_kind)
    return each, chip.flops * jax.device_count() / each if chip else 0.0


def write_summary(config, workdir, data, done, spent, shapes, cost) -> dict | None:
    """Writes summary.json and, once the last step is done, the baselines and the plots; returns the summary. Process 0
    does; others get None.

    done: the loop's Report. spent: {part: seconds} of the wall time, earlier sessions included. shapes: of the
    parameters. cost: what `operations` gives; without a peak rate there is no "mfu".
    """
    if jax.process_index() != 0:
        return None
    workdir, held_out = Path(workdir), data.split("validation").meta
    old = run.read_summary(workdir)
    rows = read_metrics(workdir)
    seconds, (each, ceiling) = sum(spent.values()), cost
    speed = _median([r["tokens_per_second"] for r in rows if "tokens_per_second" in r])
    summary = {
        "finished": not done.stopped, "steps": done.step, "unit": run.unit(config),
        "parameters": nf4.count(shapes), "tokens": int(_last(rows, "tokens_seen", 0)),
        "wall_seconds": round(seconds, 2),
        "compile_seconds": round(done.compile_seconds or old.get("compile_seconds", 0.0), 2),
        "goodput": {part: round(s / seconds, 6) for part, s in spent.items()},
        "tokens_per_second": speed, "flops_per_token": each,
        **({"mfu": speed / ceiling} if speed and ceiling else {}),
        "train_loss": _last(rows, "loss"), "corpus": held_out["name"], "licence": held_out["licence"],
        "validation_bytes": held_out["bytes"], "overlap_13gram": held_out.get("overlap_13gram"),
        **({"tokens_per_byte": held_out["tokens"] / max(1, held_out["bytes"])} if "tokens" in held_out else {}),
        "skipped_steps": int(sum(r.get("skipped", 0) for r in rows)),
        "val_bits_per_byte": None, **_newest(rows, "val_")}
    if "val_replaced_share" in summary:
        summary["never_replaced_accuracy"] = 1 - summary["val_replaced_share"]
    if summary["finished"] and config.evals.baselines:
        summary |= {k: v for k, v in old.items() if k in BASELINES} or measure_baselines(config, data)
    sealed.write(workdir / "summary.json", finite(summary))
    if summary["finished"]:
        from lmlab.utils import plots
        plots.draw_run(workdir, rows, summary, _story(workdir, config.train.steps), title=summary["corpus"])
    return summary


def measure_baselines(config, data) -> dict:
    """What the objective's scores stand beside. Of whole texts, in bits per held-out byte: lzma alone, lzma primed
    with the training text, the training unigram. Else the unigram of the targets, and of pairs the tokens they share,
    learned from an epoch of the training text, but at most BASELINE_BATCHES. None where the loss is of examples,
    whose tasks have their own."""
    if run.unit(config) not in ("text", "token"):
        return {}
    train, held_out = data.split("train", config.train.damaged_rows), data.split("validation")
    if run.unit(config) == "text":
        return baselines.lzma_bits_per_byte(data.corpus.documents("train"), data.corpus.documents("validation")) | {
            "unigram_bits_per_byte": baselines.unigram_bits_per_byte(
                train.tokens, held_out.tokens, data.tokenizer.vocab_size, held_out.meta["bytes"])}
    seen, held = (run.eval_batches(config, split, data.tokenizer, config.train.batch) for split in (train, held_out))
    seen = dataclasses.replace(seen, count=min(len(seen), BASELINE_BATCHES))
    counts = [baselines.target_counts(batches, data.tokenizer.vocab_size) for batches in (seen, held)]
    scores = baselines.unigram(*counts)
    if "pair" in held[0]:
        scores["overlap_accuracy"] = baselines.overlap_accuracy(seen, held, data.tokenizer.eod)
    return scores


def compare(workdir, original) -> str:
    """Whether what a run logged is, to the last bit, what the run it repeats did; if not, what else is not the same."""
    mine, theirs = _told(workdir), _told(original)
    common = sorted(mine.keys() & theirs.keys(), key=lambda steps: (steps[1], steps))
    if not common:
        return f"losses   {original} has logged none to compare with"
    other = next((step for step in common if mine[step] != theirs[step]), None)
    if other is None:
        return f"losses   as in {original}, bit for bit, in all {len(common)} rows that tell of the same steps"
    values = {name: (theirs[other].get(name), value) for name, value in mine[other].items()
              if value != theirs[other].get(name)}
    machine = lambda folder: {k: v for k, v in run.read_sessions(folder)[-1].items()
                              if k in ("git_commit", "python", "platform", "cpus", "versions", "devices")}
    changed = {**values, **configs.diff(machine(original), machine(workdir))}
    return (f"losses   not as in {original}, from step {other[1]} on: "
            + "; ".join(f"{name}: {old!r} there, {new!r} here" for name, (old, new) in changed.items()))


def _told(folder):
    """{(first step, last step, kind): {metric: value}} of a run's metrics.jsonl, clocks apart. A row of training is the
    mean of the steps since the row before it, which is another one where a session ended."""
    told, before = {}, 0
    for row in read_metrics(folder):
        values = {k: v for k, v in row.items() if k not in CLOCKS}
        if "tokens_seen" in row:
            told[before + 1, row["step"], "training"] = values
            before = row["step"]
        else:
            told[row["step"], row["step"], "held out"] = values
    return told


def _story(workdir, steps):
    """[(label, sample)] at the start, near a quarter of the run, and at its end."""
    saved = sorted(int(p.stem) for p in (workdir / "samples").glob("*.txt") if p.stem.isdecimal())
    if not saved:
        return []
    near = lambda share: min(saved, key=lambda step: abs(step - share * steps))
    chosen = sorted({near(share) for share in (0, 0.25, 1)})
    return [(f"{100 * step // max(1, steps)} % (step {step})",
             (workdir / "samples" / f"{step}.txt").read_text("utf-8", "replace")) for step in chosen]


def table(summary, workdir, chats=False) -> str:
    """The end of a run, for people: figures, a sample, where the pictures are. chats: whether the model does."""
    workdir, unit = Path(workdir), summary.get("unit", "token")
    of_task = unit not in ("text", "token")
    lines = [("held-out loss", "val_loss", f"nats {'an' if unit == 'example' else 'a'} {unit if of_task else 'token'}"),
             ("", "unigram_loss", "unigram"),
             ("perplexity", "val_perplexity", "a token"),
             ("", "val_word_perplexity", "a word"), ("bits per byte", "val_bits_per_byte", "this model"),
             ("", "lzma_bits_per_byte", "lzma"),
             ("", "lzma_primed_bits_per_byte", "lzma primed with the training text"),
             ("", "unigram_bits_per_byte", "unigram"),
             ("accuracy", "val_accuracy", "of the most likely label" if of_task else "of the most likely token"),
             ("", "unigram_accuracy", "always the most common token"),
             ("pairs", "val_pair_accuracy", "told right"), ("", "overlap_accuracy", "by the tokens they share"),
             ("replaced", "val_replaced_accuracy", "told from the original"),
             ("", "never_replaced_accuracy", "by saying that none was replaced"),
             ("speed", "tokens_per_second", "tokens a second"), ("", "mfu", "of the devices' peak rate"),
             ("time", "wall_seconds", "seconds")]
    sample = workdir / "samples" / f"{summary['steps']}.txt"
    text = sample.read_text("utf-8", "replace").rstrip("\n").split("\n") if sample.is_file() else []
    head = [f"\n{summary['corpus']}, {summary['steps']} steps",
            *(f"  {label:14}{summary[name]:12,.4g}  {what}" for label, name, what in lines
              if summary.get(name) is not None), *_spent(summary.get("goodput", {}))]
    shown = ["\nsamples:", *(f"  | {line}" for line in text[:20])] if text else []
    tail = ["", f"run      {workdir}", f"plots    {workdir / 'plots' / 'story.png'} (and loss, rate, throughput)"]
    tail += [f"samples  {workdir / 'samples'}"] if text else []
    verb = "evaluate --split=test" if of_task else "generate --chat" if chats else "generate"
    return "\n".join([*head, *shown, *tail, f"more     ./run.sh {verb} --run={workdir}"])


def _spent(goodput):
    """What the time went into, as a line; none where nothing is known of it."""
    parts = sorted((part for part, share in goodput.items() if share >= 0.001), key=lambda part: -goodput[part])
    return ["  of it        " + ", ".join(f"{part} {goodput[part]:.1%}" for part in parts)] if parts else []


def _last(rows, name, default=None):
    return next((r[name] for r in reversed(rows) if name in r), default)


def _newest(rows, prefix):
    """The newest value of every metric whose name begins so."""
    return {name: value for row in rows for name, value in row.items() if name.startswith(prefix)}


def _median(values):
    return round(sorted(values)[len(values) // 2], 1) if values else None
