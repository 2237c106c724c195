"""Checkpoints: whole or named as damaged, restored bit for bit on any mesh, safe from training that goes on."""

import json
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab.train import checkpoint, optimizer
from lmlab.utils.errors import UserError


def state_of(step):
    """A small train state that tells its step."""
    return {"params": {"w": jnp.arange(64.0).reshape(8, 8) + step, "deep": {"b": jnp.full(3, step, jnp.int32)}},
            "opt_state": (jnp.ones(4) * step, {"count": jnp.int32(step)}), "step": jnp.int32(step), "extra": {}}


TARGET = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.SingleDeviceSharding(
    jax.devices()[0])), state_of(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with whole checkpoints 1, 2 and 3: copy it before harming it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "saved"
    save(folder, 1, 2, 3, keep=9)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of `saved`."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def save(folder, *steps, scores=None, **kwargs):
    checkpoints = checkpoint.Checkpoints(folder, **kwargs)
    for i, step in enumerate(steps):
        checkpoints.save(step, state_of(step), scores[i] if scores else None)
    checkpoints.close()


def files(step_folder):
    return [p for p in sorted(step_folder.rglob("*")) if p.is_file() and p.name != "manifest.json"]


def flip(path):
    """One bit of a file's middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_every_file_is_in_the_manifest_and_a_whole_step_comes_back_bit_for_bit(folder, assert_same):
    for step in (1, 2, 3):
        listed = json.loads((folder / str(step) / "manifest.json").read_text())
        assert set(listed) == {str(p.relative_to(folder / str(step))) for p in files(folder / str(step))}
        assert checkpoint.damage(folder / str(step)) is None
        assert_same(checkpoint.restore(folder, step, TARGET), state_of(step))
    assert checkpoint.good_steps(folder) == [1, 2, 3]
    assert checkpoint.newest(folder) == 3 and checkpoint.whole(folder, 2) == 2


def test_any_harm_to_any_file_is_named(folder):
    for path in files(folder / "2"):
        content = path.read_bytes()
        for harm, words in [(lambda: flip(path), "is not as it was saved"),
                            (lambda: path.write_bytes(content[:-1]), "is not as it was saved"),
                            (lambda: path.write_bytes(b"\0" * len(content)), "is not as it was saved"),
                            (path.unlink, "is missing")]:
            if content:
                harm()
                assert checkpoint.damage(folder / "2") == f"{path} {words}"
            path.write_bytes(content)
        assert checkpoint.damage(folder / "2") is None
    new = folder / "2" / "params" / "new"
    for add in (new.touch, lambda: os.mkfifo(new)):  # Orbax would wait for what a pipe has to say
        add()
        assert checkpoint.damage(folder / "2") == f"{new} was added after the save"
        new.unlink()


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3"])
def test_a_bad_manifest_is_named(content, folder):
    manifest = folder / "2" / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    assert checkpoint.damage(folder / "2") == f"{manifest} is missing or unreadable"


def test_the_newest_whole_step_is_used_and_only_the_run_renames(folder):
    harmed = files(folder / "3")[0]
    flip(harmed)
    told = []
    assert checkpoint.newest(folder, log=told.append) == 2
    assert told == [f"checkpoint 3 is damaged: {harmed} is not as it was saved; going on from step 2"]
    assert (folder / "3").is_dir()
    assert checkpoint.newest(folder, repair=True, log=told.append) == 2
    assert not (folder / "3").exists() and (folder / "3.corrupt").is_dir()


def test_a_number_that_was_damaged_is_saved_again_and_whole(folder, assert_same):
    for _ in range(2):  # twice: the second rename finds 3.corrupt taken
        flip(files(folder / "3")[0])
        checkpoint.newest(folder, repair=True, log=str)
        save(folder, 3, keep=9)
        assert checkpoint.newest(folder) == 3
        assert_same(checkpoint.restore(folder, 3, TARGET), state_of(3))
    assert {p.name for p in folder.iterdir()} >= {"3.corrupt", "3.corrupt.1"}


def test_a_save_that_was_cut_off_does_not_count_and_frees_its_number(folder):
    (folder / "3" / "manifest.json").unlink()
    assert checkpoint.newest(folder) == 2 and (folder / "3").is_dir()
    assert checkpoint.newest(folder, repair=True) == 2 and not (folder / "3").exists()
    save(folder, 3, keep=9)
    assert checkpoint.good_steps(folder) == [1, 2, 3]


def test_nothing_whole_is_an_error_and_nothing_is_touched(folder):
    for step in "123":
        flip(files(folder / step)[-1])
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole: .*/3/.* is not as it was saved.*--workdir"):
        checkpoint.newest(folder, repair=True)
    assert sorted(folder.rglob("*")) == before


def test_steps_without_manifests_are_not_begun_anew(folder):
    """A session cuts off one save at most: where several have no manifest and none is whole, somebody removed them."""
    for step in "123":
        (folder / step / "manifest.json").unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match="no checkpoint in .* is whole: .*/3/manifest.json is missing"):
        checkpoint.newest(folder, repair=True)
    assert sorted(folder.rglob("*")) == before
    shutil.rmtree(folder / "1")
    shutil.rmtree(folder / "2")
    assert checkpoint.newest(folder, repair=True) is None and (folder / "3.corrupt").is_dir()  # the first save of all


def test_a_step_without_manifest_is_told_to_whoever_looks(folder):
    (folder / "3" / "manifest.json").unlink()
    told = []
    assert checkpoint.newest(folder, log=told.append) == 2
    assert told == ["checkpoint 3 has no manifest: it is being saved, or its save was cut off"]


def test_what_is_no_file_is_missing(folder):
    """A pipe would never end."""
    path = files(folder / "3")[0]
    for replace in (os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink("/nowhere", p)):
        path.unlink()
        replace(path)
        assert checkpoint.damage(folder / "3") == f"{path} is missing"
        path.rmdir() if path.is_dir() else path.unlink()
        path.touch()


def test_nothing_saved_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None and checkpoint.newest(tmp_path / "absent", repair=True) is None


def test_a_step_named_by_the_user_must_be_there_and_whole(folder):
    flip(files(folder / "2")[0])
    with pytest.raises(UserError, match=r"has no checkpoint of step 7; there are \[1, 2, 3\]"):
        checkpoint.whole(folder, 7)
    with pytest.raises(UserError, match="checkpoint 2 is damaged: .* is not as it was saved"):
        checkpoint.whole(folder, 2)


def test_newest_best_and_every_nth_stay(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5, 6, 7, scores=[9, 9, 1, 9, 9, 9, 9], keep=2, keep_every=5)
    assert checkpoint.good_steps(tmp_path) == [3, 5, 6, 7]
    save(tmp_path, 8, 9, scores=[9, 0.5], keep=2, keep_every=5)  # another session
    assert checkpoint.good_steps(tmp_path) == [5, 8, 9]


def test_a_step_that_is_there_is_left_alone(folder, assert_same):
    checkpoints = checkpoint.Checkpoints(folder)
    checkpoints.save(3, state_of(99))
    checkpoints.close()
    assert_same(checkpoint.restore(folder, 3, TARGET), state_of(3))


def test_an_error_while_saving_is_raised_by_the_next_save(tmp_path, monkeypatch):
    checkpoints = checkpoint.Checkpoints(tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(checkpoint, "write_manifest", full)
    checkpoints.save(1, state_of(1))
    with pytest.raises(UserError, match="checkpoint 1 .* could not be saved: No space left .* begins anew$"):
        checkpoints.save(2, state_of(2))
    checkpoints.close()
    assert checkpoint.good_steps(tmp_path) == []


def test_the_best_stays_over_sessions_and_nothing_goes_before_the_new_one_counts(tmp_path, monkeypatch):
    save(tmp_path, 1, 2, 3, scores=[9, 1, float("nan")], keep=1)
    assert checkpoint.good_steps(tmp_path) == [2, 3]
    save(tmp_path, 4, scores=[2], keep=1)  # another session
    assert checkpoint.good_steps(tmp_path) == [2, 4]
    there = []
    monkeypatch.setattr(checkpoint, "write_manifest", lambda step: there.append(checkpoint.good_steps(tmp_path)))
    save(tmp_path, 5, keep=1)
    assert there == [[2, 4]] == [checkpoint.good_steps(tmp_path)]


def test_what_a_kill_left_in_a_save_or_a_removal_is_cleared_by_the_run_alone(folder):
    (folder / "3").rename(folder / "3.gone")
    (folder / "4.orbax-checkpoint-tmp").mkdir()
    (folder / "notes").mkdir()
    assert checkpoint.newest(folder) == 2 and len(list(folder.iterdir())) == 5
    assert checkpoint.newest(folder, repair=True) == 2
    assert {p.name for p in folder.iterdir()} == {"1", "2", "notes"}


def test_an_error_while_saving_is_told_once_in_one_line(tmp_path, monkeypatch):
    """Also by `poll`, as soon as the save in the background has failed."""
    save(tmp_path, 1)

    def full(_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(checkpoint, "write_manifest", full)
    line = (f"checkpoint 2 in {tmp_path} could not be saved: No space left on device; free some space there. The same "
            "command goes on from step 1")
    for ask in ("poll", "wait", "close"):
        checkpoints = checkpoint.Checkpoints(tmp_path)
        checkpoints.save(2, state_of(2))
        with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
            while ask == "poll":
                checkpoints.poll()
            getattr(checkpoints, ask)()
        checkpoints.poll()
        checkpoints.close()
        assert [p.name for p in tmp_path.iterdir()] == ["1"]  # what will never count takes no room
        assert checkpoint.newest(tmp_path, repair=True) == 1


def test_tensorstore_s_own_error_names_the_cause():
    text = "RESOURCE_EXHAUSTED: Error writing \"w\": Failed to write 69 bytes [os_error_code='28'] [spec='{}']"
    assert checkpoint._reason(ValueError(text)) == (28, "No space left on device")
    assert checkpoint._reason(ValueError("one\ntwo")) == (None, "one")


@pytest.mark.parametrize("change, words", [
    (lambda t: t["params"].update(w=shape((8, 9))), "params/w is float32 (8, 8) there, float32 (8, 9) here"),
    (lambda t: t["params"].update(w=shape((8, 8), jnp.bfloat16)), "float32 (8, 8) there, bfloat16 (8, 8) here"),
    (lambda t: t["params"].pop("deep"), "params/deep/b is int32 (3,) there, missing here"),
    (lambda t: t.update(opt_state=(shape((4,)),)), "opt_state/1/count is int32 () there, missing here"),
    (lambda t: t.update(extra={"guard": shape(())}), "extra/guard is missing there, float32 () here")])
def test_a_state_of_another_model_optimizer_or_version_is_refused(change, words, saved):
    """Orbax would cast the types without a word."""
    target = {**TARGET, "params": {**TARGET["params"]}}
    change(target)
    with pytest.raises(UserError, match=re.escape(words)):
        checkpoint.restore(saved, 3, target)


def shape(sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def test_a_step_that_cannot_be_read_is_one_line(folder):
    shutil.rmtree(folder / "3" / "params")
    checkpoint.write_manifest(folder / "3")
    for read in (lambda: checkpoint.restore(folder, 3, TARGET), lambda: checkpoint.restore_params(folder, 3)):
        with pytest.raises(UserError, match="checkpoint 3 in .* cannot be read: "):
            read()


def test_a_folder_that_orbax_would_lose_the_data_in_is_refused(tmp_path, saved, assert_same):
    """It reads a [ in the path as a pattern and commits an empty checkpoint. Reading from there is safe."""
    with pytest.raises(UserError, match=r"no checkpoint can be saved under a path with a \[ in it"):
        checkpoint.Checkpoints(tmp_path / "rate[1]")
    with pytest.raises(UserError, match="use another --workdir"):
        checkpoint.newest(tmp_path / "rate[1]", repair=True)
    assert not list(tmp_path.iterdir())
    moved = shutil.copytree(saved, tmp_path / "moved[1]")
    assert_same(checkpoint.restore(moved, checkpoint.newest(moved), TARGET), state_of(3))
    for name in ("a b", "文", "a*b?", "{x}", "~#%&'"):
        save(tmp_path / name, 1)
        assert_same(checkpoint.restore(tmp_path / name, 1, TARGET), state_of(1))


def test_parameters_load_as_numpy(folder, assert_same):
    params = checkpoint.restore_params(folder, 2)
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(params))
    assert_same(params, state_of(2)["params"])


def test_a_state_moves_from_mesh_to_mesh_bit_for_bit(tmp_path, make_model, make_strategy, assert_same):
    """8 devices -> 4 -> 2 x 2 x 2 -> 1 -> pmap, each saved anew; parameters then load without a mesh."""
    strategies = {name: make_strategy(name, make_model(), optimizer.build(steps=9, name="adamw", warmup=1))
                  for name in ("fsdp", "four", "mixed", "one", "pmap")}
    state = first = strategies["fsdp"].init()
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=9)
    for step, strategy in enumerate(strategies.values()):
        checkpoints.save(step, strategy.collect(state))
        checkpoints.wait()
        following = list(strategies.values())[(step + 1) % 5]
        state = following.place(checkpoint.restore(tmp_path, step, following.target))
        assert_same(following.collect(state), first)
        if following is not strategies["pmap"]:
            assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(lambda t: t.sharding, following.target)
    checkpoints.close()
    assert_same(checkpoint.restore_params(tmp_path, 4), first["params"])


def test_what_is_saved_is_the_state_at_the_save_though_its_buffers_are_donated(tmp_path, assert_same):
    """Large arrays, written while ten further steps reuse their memory."""
    state = {"params": {"w": jnp.arange(2.0 ** 21)}, "opt_state": (jnp.ones(2 ** 21),), "step": jnp.int32(0),
             "extra": {}}
    advance = jax.jit(lambda state: jax.tree.map(lambda x: x * 3 + 1, state), donate_argnums=0)
    state = advance(state)
    copy = jax.tree.map(lambda x: np.array(x, copy=True), state)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, state)
    state = advance(state)
    given = state["params"]["w"]
    for _ in range(10):
        state = advance(state)
    jax.block_until_ready(state)
    assert given.is_deleted()  # so donation is at work here
    checkpoints.close()
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), copy)
    assert_same(checkpoint.restore(tmp_path, 1, target), copy)
