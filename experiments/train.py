"""Trains a model from a config; run again with the same --workdir, it goes on from the last checkpoint.

    ./run.sh train --config=configs/gpt.py:small --workdir=runs/x --config.train.steps=100
    ./run.sh train --from_run=runs/x --workdir=runs/again
"""

import contextlib
import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lmlab import config as configs
from lmlab.utils import cli, environment, processes
from lmlab.utils.errors import UserError
from lmlab.utils.files import only_one
from lmlab.utils.process import StopSignals

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, as configs/gpt.py:tiny.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder: its config, checkpoints, metrics, plots.",
                              required=True)
FROM_RUN = flags.DEFINE_string("from_run", "", "Instead of --config: a run to train again, with its config, tokenizer, "
                               "text. On the same machine its losses come out the same, bit for bit.")
STOP = StopSignals()


def main():
    """Trains, evaluates on the way, and tells the result."""
    from lmlab import run
    workdir, original = Path(WORKDIR.value), FROM_RUN.value
    if original and (CONFIG.value is not None or workdir.resolve() == Path(original).resolve()):
        raise UserError(f"--from_run={original} brings its own config and fills a new --workdir")
    config, source, teacher = run.begin(run.load_config(original) if original else CONFIG.value, workdir)
    run.check(config)
    environment.set_up_jax()
    processes.join()
    resuming = processes.together(lambda: run.has_begun(workdir), first=True)
    for line in configs.check_resume(run.load_config(workdir), config, workdir) if resuming else []:
        print(f"changed: {line}", file=sys.stderr)
    again = f"go on with:\n  ./run.sh train {shlex.join(sys.argv[1:])}"
    try:
        summary = session(config, workdir, resuming, original, source, teacher)
    except KeyboardInterrupt:  # outside of training, or for the second time
        print(f"\n{again}", file=sys.stderr)
        raise
    if summary and summary["finished"]:  # of several processes, the first has one and tells
        from lmlab.eval import report
        print(report.table(summary, workdir, chats=run.reads(config) == "messages"))
        if original:
            print(report.compare(workdir, original))
    elif summary:
        print(f"stopped after step {summary['steps']}; {again}")


def session(config, workdir, resuming, original, source, teacher):
    """One session of training in `workdir`, from its last checkpoint or from the start; returns its summary."""
    from lmlab import run
    from lmlab.eval import report
    from lmlab.train import checkpoint, loop, sharding, step
    from lmlab.utils.logs import RunLog
    settings, evals = loop.Settings(**config.train), loop.Evals(**config.evals)
    mesh, known = sharding.make_mesh(**config.mesh), workdir if resuming else original
    step.check_layout(settings, mesh, run.build_model(config, vocab_size=2).spec)
    tokenizer = run.load_tokenizer(known) if known else getattr(source or teacher, "tokenizer", None)
    data = processes.alike(lambda: run.prepare(config, tokenizer, run.load_labels(known) if known else None,
                                               progress=sys.stderr.isatty(),
                                               start=lambda: run.start_of(config, source)), run.Data.digest)
    run.check_text(known, data)
    model = run.build_model(config, data.tokenizer.vocab_size, data.labels)
    objective = run.build_objective(config, data.tokenizer.vocab_size)
    taught, constants = run.taught(config, teacher, objective, data, model, known)
    strategy = step.make_strategy(
        settings.parallel, model, run.initialiser(config, model), taught, *run.build_optimizer(config, model), mesh,
        seed=config.seed, accumulation=settings.accumulation, spikes=settings.spikes, constants=constants,
        average=settings.average, trains=run.trains(config), given=run.given(source, config, model))
    with contextlib.ExitStack() as lock:
        def begin():
            lock.enter_context(only_one(workdir))
            if run.has_begun(workdir) != resuming:
                raise UserError(f"{workdir} was begun by another process just now; run the same command again")
            return checkpoint.newest(workdir / "checkpoints", repair=True, log=lambda t: print(t, file=sys.stderr))
        start = processes.together(begin, first=True)
        state = strategy.init() if start is None else strategy.place(run.restore(workdir, start, strategy.target))
        run.save_start(workdir, config, data, resuming, run.digest(teacher))
        log, saved = RunLog(workdir, start=start or 0, steps=settings.steps), workdir / "checkpoints"
        checkpoints = checkpoint.Checkpoints(saved, keep=settings.keep, keep_every=settings.keep_every)
        evaluate = report.make_evaluation(config, workdir, data, model, objective, mesh, log)
        cost = report.operations(config, data, model.spec, strategy.target["params"])
        with contextlib.closing(log), contextlib.closing(checkpoints):
            _, done = loop.train(strategy, state, run.train_batches(config, data, *strategy.part), checkpoints, log,
                                 settings=settings, evaluate=evaluate, stop=STOP, ceiling=cost[1],
                                 evals=evals, eval_every=evals.every or max(1, settings.steps // 4))
        return report.write_summary(config, workdir, data, done, log.spent.seconds, strategy.target["params"], cost)


if __name__ == "__main__":
    with STOP:
        cli.run(STOP.at_once()(main))
