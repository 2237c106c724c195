"""What the network says before training of every answer: asked once, the same when a run goes on, and only by those
who train."""

import importlib
import json

import numpy as np
import pytest

from commands import quick, tiny
from lmlab import run
from lmlab.objectives import likelihood, preference
from lmlab.utils.errors import UserError
from lmlab.utils.logs import read_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of preferences."""
    path = tmp_path_factory.mktemp("data") / "likes.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"cat {i}", "chosen": "the", "rejected": f"of {i}"}) + "\n"
                            for i in range(60)))
    return path


def configured(data, **more):
    """A config of DPO that begins from the tiny run."""
    settings = {"init_from": tiny() / "run", "data.source": "files", "data.path": data, "train.length": 128,
                "train.steps": 4, "train.batch": 8, "evals.every": 2, "train.log_every": 1, "evals.sample_tokens": 4,
                "optimizer.warmup": 1, "optimizer.schedule": "constant", **more}
    return "dpo," + ",".join(f"{name}={value}" for name, value in settings.items())


def test_every_example_has_it_and_the_step_begins_at_it(data):
    module = importlib.import_module("configs.chat")
    config, source = run.begin_from(module.get_config(configured(data)))
    bare = run.prepare(config, source.tokenizer)
    assert "reference" not in bare.split("train").examples[0]
    found, again = (run.prepare(config, source.tokenizer, start=lambda: run.start_of(config, start))
                    for start in (source, None))  # as a run begins, and as it goes on
    for split in ("train", "validation"):
        examples = found.split(split).examples
        assert examples == again.split(split).examples and all(len(one["reference"]) == 2 for one in examples)
    batch = run.eval_batches(config, found.split("train"), found.tokenizer, 4)[0]
    assert np.abs(batch["reference"][batch["pairs"] > 0]).min() > 0
    text = preference.preferences.answers(found.tokenizer, found.split("train").examples[:1], "dpo", "x")[0]
    assert found.split("train").examples[0]["reference"] == likelihood.of_texts(source, text)[:, 0].tolist()


def test_a_run_needs_a_network_to_begin_from(data):
    config = importlib.import_module("configs.chat").get_config(configured(data, init_from=""))
    with pytest.raises(UserError, match="against the one that it began from; name that in config.init_from"):
        run.prepare(config, start=lambda: run.start_of(config))
    with config.unlocked():
        config.objective.kind = "orpo"
    assert run.prepare(config, start=lambda: run.start_of(config)).split("train").examples


@pytest.mark.slow
def test_a_run_that_goes_on_gives_the_same_losses(data, tmp_path):
    def train(folder, *more, config=configured(data, init_from=tmp_path / "start")):
        done = quick("train", f"--config=configs/chat.py:{config}", f"--workdir={tmp_path / folder}", *more,
                     XLA_FLAGS="--xla_force_host_platform_device_count=1")
        assert done.code == 0, done.err
        rows = read_metrics(tmp_path / folder)
        names = ("loss", "val_loss", "val_accuracy")
        return {(row["step"], name): row[name] for row in rows for name in names if name in row}
    (tmp_path / "talk.csv").write_text("user,assistant\n" + "".join(f"cat {i},the {i}\n" for i in range(90)))
    small = ("tiny,train.steps=2,optimizer.warmup=1,evals.sample_tokens=4,data.source=files,"
             f"data.path={tmp_path / 'talk.csv'}")
    train("start", config=small)
    whole = train("whole")
    train("parts", "--config.train.steps=2")
    assert train("parts") == whole
    assert whole[0, "val_loss"] == pytest.approx(np.log(2), abs=1e-5) and whole[4, "val_loss"] < whole[0, "val_loss"]
    done = quick("evaluate", f"--run={tmp_path / 'parts'}", "--split=validation", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["model"]["accuracy"]["value"] == pytest.approx(whole[4, "val_accuracy"])
