"""Trains a model from a config; run again with the same --workdir, it goes on from the last checkpoint.

    ./run.sh train --config=configs/gpt.py:small --workdir=runs/x --config.train.steps=100
"""

import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lmlab import config as configs
from lmlab.utils import cli, environment
from lmlab.utils.files import only_one, write_json

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, as configs/gpt.py:tiny.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder: its config, checkpoints, metrics, plots.",
                              required=True)


def main():
    """Trains, evaluates on the way, and tells the result."""
    from lmlab import run
    config, workdir = CONFIG.value, Path(WORKDIR.value)
    run.check(config)
    resuming = (workdir / "config.json").is_file()
    changes = configs.check_resume(run.load_config(workdir), config, workdir) if resuming else []
    for line in changes:
        print(f"changed: {line}", file=sys.stderr)
    environment.set_up_jax()
    again = f"go on with:\n  ./run.sh train {shlex.join(sys.argv[1:])}"
    try:
        summary = session(config, workdir, resuming)
    except KeyboardInterrupt:  # outside of training, or for the second time
        print(f"\n{again}", file=sys.stderr)
        raise
    if summary["finished"]:
        from lmlab.eval import report
        print(report.table(summary, workdir))
    else:
        print(f"stopped after step {summary['steps']}; {again}")


def session(config, workdir, resuming):
    """One session of training in `workdir`, from its last checkpoint or from the start; returns its summary."""
    import jax

    from lmlab import run
    from lmlab.eval import report
    from lmlab.train import checkpoint, loop, optimizer, sharding, step
    from lmlab.utils.logs import RunLog
    from lmlab.utils.trees import count
    settings, evals = loop.Settings(**config.train), loop.Evals(**config.evals)
    process, processes = jax.process_index(), jax.process_count()
    mesh = sharding.make_mesh(**config.mesh)
    step.check_layout(settings.parallel, mesh, batch=settings.batch, accumulation=settings.accumulation)
    data = run.prepare(config, run.load_tokenizer(workdir) if resuming else None, progress=sys.stderr.isatty())
    if resuming:
        run.check_text(workdir, data)
    model = run.build_model(config, data.tokenizer.vocab_size)
    objective = run.build_objective(config, data.tokenizer.vocab_size)
    strategy = step.make_strategy(settings.parallel, model, run.initialiser(config, model), objective,
                                  *optimizer.build(steps=settings.steps, **config.optimizer), mesh,
                                  seed=config.seed, accumulation=settings.accumulation)
    batches = run.train_batches(config, data, process, processes)
    with only_one(workdir):
        start = checkpoint.newest(workdir / "checkpoints", repair=True, log=lambda t: print(t, file=sys.stderr))
        state = strategy.init() if start is None else strategy.place(
            checkpoint.restore(workdir / "checkpoints", start, strategy.target))
        if not resuming:
            run.save_tokenizer(data.tokenizer, workdir)
        configs.save(config, workdir / "config.json")
        write_json(workdir / "run.json", environment.describe() | {
            "text": run.describe_text(data), "earlier_sessions": run.read_sessions(workdir)})
        log = RunLog(workdir, start=start or 0, steps=settings.steps, process=process)
        checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", keep=settings.keep,
                                             keep_every=settings.keep_every)
        evaluate = report.make_evaluation(config, workdir, data, model, objective, mesh, log)
        try:
            state, done = loop.train(strategy, state, batches, checkpoints, log, settings=settings, evaluate=evaluate,
                                     eval_every=evals.every or max(1, settings.steps // 4))
            checkpoints.close()
        finally:
            log.close()
        return report.write_summary(config, workdir, data, done, log.seconds, count(strategy.target["params"]))


if __name__ == "__main__":
    cli.run(main)
