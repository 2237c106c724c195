"""`import lmlab`: light, and the same three names however it is used."""

import importlib
import json
import os
import subprocess
import sys

import pytest

import lmlab
from commands import environment, tiny


def python(code, cwd, **env):
    """Runs a program in a fresh interpreter; returns what it printed, read as JSON."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment(**env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_is_light(tmp_path):
    code = "import sys, json, lmlab; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = python(code, tmp_path)
    assert "lmlab" in loaded
    assert not {"jax", "orbax", "flax", "numpy", "tensorflow", "torch", "grain", "matplotlib"} & set(loaded)


def test_load_and_generate_elsewhere(tmp_path):
    """Written on eight devices; read on one, in another folder, with no config file beside it and nothing written."""
    written = json.loads((tiny() / "run" / "run.json").read_text())["devices"]["count"]
    before = {p: p.stat().st_mtime_ns for p in tiny().rglob("*")}
    out = python(f"""
import json, sys, lmlab
lm = lmlab.load({str(tiny() / "run")!r})
texts = lmlab.generate(lm, ["the cat", "春眠"], max_new_tokens=12, temperature=0, seed=1)
out = lmlab.pipeline("text-generation", lm)("the cat", max_new_tokens=12, temperature=0)
import jax
print(json.dumps([jax.device_count(), texts, out, lm.config.train.steps, "configs" in sys.modules,
                  "tensorflow" in sys.modules]))""", tmp_path, devices=1)
    devices, texts, out, steps, configs, tensorflow = out
    assert (written, devices, steps, configs, tensorflow) == (8, 1, 6, False, False)
    assert out == [{"generated_text": "the cat" + texts[0]}]
    here = lmlab.load(tiny() / "run")
    assert texts == lmlab.generate(here, ["the cat", "春眠"], max_new_tokens=12, temperature=0, seed=1)
    assert {p: p.stat().st_mtime_ns for p in tiny().rglob("*")} == before and not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["load", "generate", "pipeline", "LM"])
def test_the_face_stays_what_it_is(name):
    for module in ("lmlab.decoding.text", "lmlab.decoding", "lmlab.pipelines.text_generation", "lmlab.run"):
        importlib.import_module(module)
    assert callable(getattr(lmlab, name)) and name in dir(lmlab) and name in lmlab.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="generat"):
        lmlab.generat
