"""Every config in configs/ at its `tiny` size: two real steps by the command line, and the files a run leaves."""

import importlib
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from commands import REPOSITORY, quick, text
from lmlab import config as configs
from lmlab import run
from lmlab.train import checkpoint
from lmlab.utils import trees
from lmlab.utils.errors import UserError
from lmlab.utils.logs import read_metrics

NAMES = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.py") if path.stem != "__init__")
QUICK = ("gpt", "t5")  # a decoder and an encoder-decoder; the others are 10 to 20 seconds each, of compilation
SUMMARY = {"steps", "tokens", "wall_seconds", "compile_seconds", "tokens_per_second", "train_loss", "val_loss"}
WHOLE = {"val_bits_per_byte", "lzma_bits_per_byte", "lzma_primed_bits_per_byte", "unigram_bits_per_byte"}
PART = {"val_accuracy", "unigram_loss", "unigram_accuracy"}  # what stands there where no whole text is scored
EXAMPLES = {  # a file of each kind of examples
    None: ("text.txt", lambda: text(words=1500)),
    "pairs": ("pairs.tsv", lambda: "".join(f"{i} cats\tthe {i}\n" for i in range(200))),
    "labelled": ("x.csv", lambda: "text,label\n" + "".join(f"{i} cats,{'ab'[i % 2]}\n" for i in range(200))),
    "tagged": ("x.conll", lambda: "".join(f"{i} O\ncats B-PER\n\n" for i in range(200))),
    "questions": ("x.jsonl", lambda: "".join(json.dumps({
        "context": f"{i} cats", "question": "how many?", "answers": [{"text": f"{i}", "start": 0}]}) + "\n"
        for i in range(200))),
    "choices": ("x.jsonl", lambda: "".join(json.dumps({
        "question": f"{i} cats?", "choices": ["no", f"{i}"], "answer": 1}) + "\n" for i in range(200))),
    "similar": ("x.csv", lambda: "anchor,positive\n" + "".join(f"{i} cats,how many? {i}\n" for i in range(200))),
    "relations": ("x.jsonl", lambda: "".join(json.dumps({
        "text": f"{i} cats", "spans": [{"start": len(f"{i} "), "end": len(f"{i} cats"), "label": "Meet"},
                                       {"start": 0, "end": len(f"{i}"), "label": "PER"}],
        "relations": [{"head": 0, "tail": 1, "label": "agent"}] * (i % 2)}) + "\n" for i in range(200))),
    "messages": ("x.csv", lambda: "user,assistant\n" + "".join(f"{i} cats,how many?\n" for i in range(200)))}


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in NAMES])
def test_two_steps_at_the_tiny_size(name, tmp_path):
    config = importlib.import_module(f"configs.{name}").get_config("tiny")
    reads = "pairs" if config.objective.name == "seq2seq" else run.reads(config)
    file, content = EXAMPLES[reads]
    (tmp_path / file).write_text(content(), "utf-8")
    path = [f"--config.data.path={tmp_path / file}", "--config.data.source=files",
            *(["--config.data.field=0,1"] if reads == "pairs" else [])]
    folder, of_examples = tmp_path / "run", run.unit(config) not in ("text", "token")
    small = "train.steps=2,train.batch=8,train.log_every=1,optimizer.warmup=1,model.unroll=1,evals.sample_tokens=8"
    done = quick("train", f"--config=configs/{name}.py:tiny,{small},tokenizer.name=bytes", f"--workdir={folder}", *path,
                 XLA_FLAGS="--xla_force_host_platform_device_count=1")
    assert done.code == 0, done.err

    assert json.loads((folder / "config.json").read_text())["train"]["steps"] == 2
    summary = json.loads((folder / "summary.json").read_text())
    whole = summary["val_bits_per_byte"] is not None
    wanted = SUMMARY | ({"val_accuracy"} if of_examples else WHOLE if whole else PART)
    assert summary["finished"] and summary["steps"] == 2 and wanted <= set(summary)
    assert all(np.isfinite(summary[key]) for key in wanted)
    rows = read_metrics(folder)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert {0, 2} <= {row["step"] for row in rows if "val_loss" in row}
    assert summary["val_loss"] == rows[-1]["val_loss"] and summary["tokens"] == rows[-2]["tokens_seen"]

    assert checkpoint.newest(folder / "checkpoints") == 2 and checkpoint.damage(folder / "checkpoints" / "2") is None
    lm = run.load(folder)  # reads the tokenizer, and checks its hash
    assert lm.step == 2 and lm.tokenizer.decode(lm.tokenizer.encode("the cat")) == "the cat"
    assert of_examples or (folder / "samples" / "2.txt").read_text("utf-8").strip()
    for plot in ("loss", "rate", "throughput", "story"):
        assert (folder / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert list(folder.glob("events.*")) and (folder / "run.json").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_its_presets_are_possible_and_its_docstring_gives_the_command(name):
    module = importlib.import_module(f"configs.{name}")
    assert "tiny" in module.PRESETS and f"./run.sh train --config=configs/{name}.py" in module.__doc__
    for preset in module.PRESETS:
        config = module.get_config(preset)
        if config.data.source == "files" and not config.data.path:
            with pytest.raises(UserError, match="config.data.source=files needs config.data.path="):
                run.check(config)
            config.data.path = "text.txt"
        if config.init_from:  # whose network it then has; experiments/test_finetuning.py begins from one
            configs.check(config, run.sections(config))
        else:
            run.check(config)
        assert config.is_locked


@pytest.mark.parametrize("layers", [1, 4, 12, 21])
def test_the_depth_dial_sets_all_else(layers):
    """20 tokens a parameter, to within a batch (or the width that odd depths round up to whole heads)."""
    config = importlib.import_module("configs.gpt").get_config(f"depth,model.layers={layers},data.path=text.txt")
    run.check(config)
    model = run.build_model(config, config.tokenizer.vocab_size)
    shapes = nn.meta.unbox(jax.eval_shape(run.initialiser(config, model), jax.random.key(0)))
    step = config.train.batch * config.model.context
    tokens = config.train.steps * step
    assert (config.model.layers, config.model.width) == (layers, 64 * layers)
    assert tokens == pytest.approx(20 * trees.count(shapes), rel=0.25 if layers % 2 else 0.001, abs=step)
    assert config.train.batch % config.train.accumulation == 0


def test_a_depth_of_none_is_refused():
    config = importlib.import_module("configs.gpt").get_config("depth,model.layers=0,data.path=text.txt")
    with pytest.raises(UserError, match="config.model.layers=0 must be at least 1"):
        run.check(config)


@pytest.mark.parametrize("name", NAMES)
def test_overrides_in_the_argument(name):
    get_config = importlib.import_module(f"configs.{name}").get_config
    assert get_config("tiny,train.steps=5,seed=3").to_dict()["train"]["steps"] == 5
    with pytest.raises(UserError, match="did you mean 'train.steps'"):
        get_config("tiny,train.stepss=5")
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        get_config("tinny")
