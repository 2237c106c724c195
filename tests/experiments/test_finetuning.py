"""Fine-tuning as a user does it: a model from elsewhere and a table of labelled texts in, a measured classifier out."""

import csv
import json
import random

import flax.linen as nn
import jax
import numpy as np
import pytest

import lmlab
from commands import quick
from lmlab import interop, models
from lmlab.adapt import lora
from lmlab.data.tokenizers import wordpiece
from lmlab.models import presets, transformer
from lmlab.utils.trees import by_path

ANIMALS, TOOLS = ("dog", "cat", "horse", "cow", "sheep"), ("hammer", "saw", "drill", "axe", "file")
FRAME = ("i saw a {} today", "the {} is here", "a {} stood there", "we have a {}", "look at the {} over there")
SHAPE = dict(width=16, layers=2, heads=2, ff=32, context=32, pooler=False, dropout=0.0)


def sentences(count, seed=0):
    """(text, label) pairs that a bag of words can tell apart."""
    pick = random.Random(seed)
    for number in range(count):
        words, label = ((ANIMALS, "animal"), (TOOLS, "tool"))[number % 2]
        yield f"{number} {pick.choice(FRAME).format(pick.choice(words))}", label


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data.csv and encoder/, a tiny BERT of Hugging Face's."""
    folder = tmp_path_factory.mktemp("finetuning")
    with open(folder / "data.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *sentences(200)])
    tokenizer = wordpiece.train([text for text, _ in sentences(200)], 120, "wordpiece-uncased")
    kwargs = presets.get("bert", **SHAPE) | {"vocab_size": tokenizer.vocab_size}
    model = models.build("transformer", **kwargs)
    params = jax.device_get(nn.meta.unbox(transformer.init(model, jax.random.key(0))))
    interop.save(folder / "encoder", kwargs, params, tokenizer)
    return folder


def train(place, name, *more):
    """The verb, 12 steps from the encoder, whatever the preset says of its own."""
    return quick("train", "--config=configs/classification.py:spam", f"--workdir={place / name}",
                 f"--config.data.path={place / 'data.csv'}", "--config.data.source=files", "--config.train.steps=12",
                 "--config.train.length=32", f"--config.init_from={place / 'encoder'}", "--config.optimizer.rate=0.01",
                 "--config.optimizer.warmup=1", *more)


@pytest.fixture(scope="module")
def tuned(place):
    """The run that began from the encoder."""
    done = train(place, "tuned")
    assert done.code == 0, done.err
    return place / "tuned", done


def test_a_table_tells_what_trains_and_what_was_there(tuned):
    _, done = tuned
    lines = [line.split() for line in done.err.splitlines() if line.startswith(("part ", "task ", "all ", "trunk/ff "))]
    parameters = {line[0]: line[1:] for line in lines}
    assert parameters["part"] == ["numbers", "train", "loaded"]
    assert parameters["task"] == ["34", "34", "0"] and parameters["trunk/ff"][0] == parameters["trunk/ff"][2]


def test_the_labels_and_the_network_come_along(tuned):
    lm = lmlab.load(tuned[0])
    assert lm.labels == ("animal", "tool") and lm.config.model.width == 16 and lm.model.spec.layers == 2
    assert lmlab.pipeline("text-classification", lm)("a dog")[0].keys() == {"label", "score"}


def test_the_task_is_measured_beside_its_baselines(tuned):
    done = quick("evaluate", f"--run={tuned[0]}", "--split=test")
    assert done.code == 0, done.err
    assert [line.split("  ")[0] for line in done.out.splitlines()[1:4]] == ["model", "TF-IDF + logistic regression",
                                                                            "majority"]
    report = json.loads((tuned[0] / "evaluation" / "classification" / "test.json").read_text())
    assert report["baselines"]["TF-IDF + logistic regression"]["accuracy"]["value"] == 1.0
    accuracy = report["model"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (tuned[0] / "evaluation" / "classification" / "confusion.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_run_resumes_where_what_it_began_from_is_gone(place, tuned, tmp_path):
    (place / "encoder").rename(tmp_path / "elsewhere")
    try:
        done = train(place, "tuned", "--config.train.steps=14")
        assert done.code == 0 and "changed: config.train.steps: 12 in the run, 14 now" in done.err
    finally:
        (tmp_path / "elsewhere").rename(place / "encoder")


def test_adapters_train_and_nothing_else(place):
    done = train(place, "lora", "--config.adapt.lora_rank=2")
    assert done.code == 0, done.err
    start, end = by_path(interop.load(place / "encoder").params), by_path(lmlab.load(place / "lora").params)
    moved = {path.rpartition("/")[2] for path, x in end.items() if path.startswith("body") and path.endswith("lora_b")
             and np.any(x)}
    assert moved == {"lora_b"}
    for path, x in end.items():
        bare = path.removeprefix("body/")
        if bare in start:
            np.testing.assert_array_equal(x, start[bare], err_msg=path)
    assert lora.adapters(lmlab.load(place / "lora").params)


@pytest.mark.parametrize("flags, message", [
    (("--config.model.width=64",), "config.model.width=64, and the network of config.init_from="),
    (("--config.tokenizer.name=bpe",), "config.tokenizer.name='bpe' does not go with config.init_from="),
    (("--config.adapt.freeze=(",), "config.adapt.freeze='(' is no regular expression"),
    (("--config.init_from=nowhere",), "nowhere/config.json is missing"),
    (("--config.evals.best=acuracy",), "config.evals.best='acuracy' is no score of this run; did you mean 'accuracy'?"),
    (("--config.objective.kind=number",), "no number, and config.objective.kind=number takes numbers")])
def test_what_cannot_be_is_told_in_one_line(flags, message, place, tmp_path):
    done = train(place, tmp_path / "bad", *flags)
    assert done.code == 1 and message in done.err.splitlines()[-1] and "Traceback" not in done.err
