"""Configs refuse what no function takes, by name."""

import importlib.util
import random

import pytest
from ml_collections import ConfigDict

from commands import REPOSITORY
from lmlab import config as configs
from lmlab import run
from lmlab.utils.errors import UserError


def gpt(arg="tiny"):
    """The config of configs/gpt.py:ARG."""
    spec = importlib.util.spec_from_file_location("gpt", REPOSITORY / "configs" / "gpt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


TINY = gpt()
FIELDS = sorted(configs.flat(TINY))


def misspellings(word, seed=0):
    """Words one slip away: a letter dropped, doubled, swapped with the next, or wrong."""
    pick = random.Random(seed)
    i = pick.randrange(len(word) - 1) if len(word) > 1 else 0
    slips = {word[:i] + word[i + 1:], word[:i] + word[i] + word[i:], word[:i] + word[i:i + 2][::-1] + word[i + 2:],
             word[:i] + "q" + word[i + 1:]}
    return sorted(slips - {word, ""})


def changed(**sections):
    """The tiny config as a plain dict, with other values: changed(train={"steps": "x"})."""
    plain = TINY.to_dict()
    for name, values in sections.items():
        plain[name] = {**plain[name], **values} if isinstance(values, dict) else values
    return ConfigDict(plain)


def test_it_is_locked_and_complete():
    assert TINY.is_locked and TINY.train.is_locked
    assert {"seed", "data.path", "model.name", "objective.name", "optimizer.rate", "train.steps", "mesh.fsdp",
            "evals.every", "tokenizer.name"} <= set(FIELDS)
    with pytest.raises(AttributeError):
        TINY.train.stpes = 5
    run.check(TINY)


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_misspelt_is_refused_by_name(path):
    section, _, field = path.rpartition(".")
    for wrong in misspellings(field):
        known = set(TINY[section]) if section else set(TINY)
        if wrong in known:
            continue
        name = f"{section}.{wrong}" if section else wrong
        with pytest.raises(UserError, match=rf"config\.{name} ") as error:
            configs.override(gpt(), {name: "1"})
        if len(field) > 3:
            assert "did you mean" in str(error.value)
        plain = TINY.to_dict()
        (plain[section] if section else plain)[wrong] = 1
        with pytest.raises(UserError, match=rf"config\.{name} ") as error:
            run.check(ConfigDict(plain))
        if len(field) > 3:
            assert "did you mean" in str(error.value)


@pytest.mark.parametrize("section", [name for name in TINY if name != "seed"])
def test_every_section_misspelt_is_refused_by_name(section):
    for wrong in misspellings(section):
        plain = TINY.to_dict()
        plain[wrong] = plain.pop(section)
        with pytest.raises(UserError, match=rf"config\.({wrong}|{section}\.name) "):
            run.check(ConfigDict(plain))


def test_near_names_are_offered():
    for wrong, right in {"train.stpes": "train.steps", "model.widht": "model.width", "optimizer.raet": "optimizer.rate",
                         "evals.sample_token": "evals.sample_tokens", "mesh.fdsp": "mesh.fsdp"}.items():
        with pytest.raises(UserError, match=f"did you mean '{right}'"):
            configs.override(gpt(), {wrong: "1"})


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_of_a_wrong_type_is_refused_by_name(path):
    section, _, field = path.rpartition(".")
    like = configs.flat(TINY)[path]
    wrong = ["x", [1], None] if not isinstance(like, str) else [5, 1.5, True, None]
    wrong += [2] if isinstance(like, bool) else [True] if not isinstance(like, str) else []
    wrong += [1.5] if type(like) is int else []
    for value in wrong:
        plain = TINY.to_dict()
        (plain[section] if section else plain)[field] = value
        with pytest.raises(UserError, match=rf"config\.{path}"):
            run.check(ConfigDict(plain))
    if not isinstance(like, str):
        with pytest.raises(UserError, match=rf"config\.{path}='x' must be of type {type(like).__name__}"):
            configs.override(gpt(), {path: "x"})


@pytest.mark.parametrize("sections, message", [
    (dict(train=5), "config.train=5 must be a section"), (dict(model=5), "config.model.name is missing"),
    (dict(seed=-1), "config.seed=-1"), (dict(seed=2 ** 32), "config.seed"),
    (dict(data={"name": "x"}), "config.data.name"), (dict(train={"name": "x"}), "config.train.name"),
    (dict(model={"name": "transfomer"}), "did you mean 'transformer'"),
    (dict(objective={"name": "casual"}), "did you mean 'causal'"),
    (dict(optimizer={"name": "adamx"}), "config.optimizer.name='adamx' is unknown; did you mean 'adam'"),
    (dict(model={"heads": 5}), "config.model.heads=5 does not divide config.model.width=32; try 1, 2, 4"),
    (dict(train={"length": 33}), "config.train.length=33"),
    (dict(train={"precision": "float16"}), "config.train.precision"),
    (dict(train={"steps": -1}), "config.train.steps=-1"), (dict(evals={"every": -1}), "config.evals.every=-1"),
], ids=str)
def test_impossible_values_are_refused_by_name(sections, message):
    with pytest.raises(UserError) as error:
        run.check(changed(**sections))
    assert message in str(error.value)


def test_an_int_may_stand_for_a_float():
    run.check(changed(optimizer={"rate": 1}))


def test_argument():
    presets = {"quickstart": 1, "tiny": 2}
    assert configs.parse_arg("", presets) == ("quickstart", {})
    assert configs.parse_arg(None, presets) == ("quickstart", {})
    assert configs.parse_arg("tiny,train.steps=5,data.path=a=b", presets) == (
        "tiny", {"train.steps": "5", "data.path": "a=b"})
    with pytest.raises(UserError, match="'tinny' is no preset; did you mean 'tiny'"):
        configs.parse_arg("tinny", presets)
    with pytest.raises(UserError, match="'train.steps' is no assignment"):
        configs.parse_arg("tiny,train.steps", presets)


def test_overrides_take_the_type_of_the_field():
    config = gpt("tiny,train.steps=7,optimizer.rate=3,model.bias=false,data.path=5,seed=9,evals.prompt=a=b")
    assert (config.train.steps, config.optimizer.rate, config.model.bias, config.data.path, config.seed) == (
        7, 3.0, False, "5", 9)
    assert isinstance(config.optimizer.rate, float) and config.evals.prompt == "a=b" and config.is_locked


def test_save_and_load(tmp_path):
    config = gpt("tiny,data.path=春/*.txt")
    configs.save(config, tmp_path / "a" / "config.json")
    loaded = configs.load(tmp_path / "a" / "config.json")
    assert loaded.to_dict() == config.to_dict() and loaded.is_locked and configs.diff(config, loaded) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b'"x"', b"null", b"\xff\xfe", b'{"a": ', b"\0" * 9])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=f"{tmp_path}/config.json"):
        run.load_config(tmp_path)


def test_a_missing_run_names_the_near_one(tmp_path):
    configs.save(TINY, tmp_path / "quickstart" / "config.json")
    with pytest.raises(UserError, match="quikstart is no run folder; did you mean 'quickstart'"):
        configs.load(tmp_path / "quikstart" / "config.json")


def test_every_part_of_a_damaged_config_is_caught_or_harmless(tmp_path):
    """Every field removed in turn: at its default again, or named. Every value of another kind: named."""
    for path in FIELDS:
        section, _, field = path.rpartition(".")
        plain = TINY.to_dict()
        del (plain[section] if section else plain)[field]
        configs.save(ConfigDict(plain), tmp_path / "config.json")
        try:
            assert set(configs.flat(run.load_config(tmp_path))) == set(FIELDS)
        except UserError as error:
            assert str(tmp_path) in str(error) and path.split(".")[0] in str(error)


def test_diff_names_what_differs():
    assert configs.diff(gpt(), gpt("tiny,model.width=64,train.steps=9")) == {
        "model.width": (32, 64), "train.steps": (20, 9)}
    assert configs.diff({"a": {"b": 1}}, {"a": {"c": 2}}) == {"a.b": (1, None), "a.c": (None, 2)}


@pytest.mark.parametrize("path, value", [
    ("train.steps", "30"), ("train.log_every", "3"), ("train.save_every", "4"), ("train.keep", "5"),
    ("train.keep_every", "7"), ("train.parallel", "pmap"), ("evals.every", "2"), ("evals.samples", "0"),
    ("evals.baselines", "false"), ("mesh.fsdp", "2"), ("mesh.data", "1"), ("mesh.tensor", "4"), ("model.unroll", "2"),
    ("model.remat", "full"), ("model.attention", "xla")])
def test_a_resume_may_change(path, value):
    old = gpt()
    lines = configs.check_resume(old, configs.override(gpt(), {path: value}), "runs/x")
    new = configs.parse_value(path, value, configs.flat(old)[path])
    assert lines == [f"config.{path}: {configs.flat(old)[path]!r} in the run, {new!r} now"]


@pytest.mark.parametrize("path", [p for p in FIELDS if not p.startswith(configs.MAY_CHANGE)])
def test_a_resume_must_not_change(path):
    like = configs.flat(TINY)[path]
    other = {bool: not like, int: 77, float: 0.123, str: "other"}[type(like)]
    old, new = TINY.to_dict(), TINY.to_dict()
    section, _, field = path.rpartition(".")
    (new[section] if section else new)[field] = other
    with pytest.raises(UserError, match="runs/x") as error:
        configs.check_resume(old, new, "runs/x")
    assert f"config.{path}: {like!r} in the run, {other!r} now" in str(error.value)


def test_the_same_config_changes_nothing():
    assert configs.check_resume(gpt(), gpt(), "runs/x") == []
