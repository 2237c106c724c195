"""`verify`: a run at rest or in training, whole or with each of its parts damaged; nothing is ever changed by it."""

import shutil

import pytest

from commands import quick, rewrite, snapshot, tiny
from lmlab import run
from lmlab.data.tokenizers import plain
from lmlab.utils import sealed
from lmlab.utils.files import only_one

PARTS = ["config.json", "run.json", "tokenizer", "metrics.jsonl", "summary.json", "checkpoints/3", "checkpoints/6"]


@pytest.fixture
def copy(tmp_path):
    """The tiny run, to be harmed."""
    return shutil.copytree(tiny() / "run", tmp_path / "run")


def verify(folder):
    """(exit code, {part: state}, output, errors) of the verb; it has changed nothing."""
    before = snapshot(folder)
    done = quick("verify", f"--run={folder}")
    assert snapshot(folder) == before and "Traceback" not in done.err
    rows = [line.split() for line in done.out.splitlines() if line.startswith("  ")]
    return done.code, {row[0]: row[1] for row in rows}, done.out, done.err


def flip(path):
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 2
    path.write_bytes(content)


def data_of(folder, step):
    """The largest file of a checkpoint."""
    return max((p for p in (folder / "checkpoints" / str(step)).rglob("*") if p.is_file()),
               key=lambda p: p.stat().st_size)


def edit(path, old, new):
    """Replaces text in a file, as somebody (or a bit) would."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_whole_run():
    code, states, out, err = verify(tiny() / "run")
    assert code == 0 and list(states) == PARTS and set(states.values()) == {"whole"} and not err
    assert "transformer, causal, seed 0, 6 steps" in out and "bytes, 257 ids" in out and out.endswith("are whole\n")


HARM = {  # what is done: the part that is damaged, a word that says what
    "seed": (lambda f: edit(f / "config.json", '"seed": 0', '"seed": 1'), "config.json", "not as it was written"),
    "dropout": (lambda f: edit(f / "config.json", '"dropout": 0.0', '"dropout": 0.5'), "config.json",
                "remove its line"),
    "cut config": (lambda f: (f / "config.json").write_text("{"), "config.json", "is damaged"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json", "is missing"),
    "text": (lambda f: edit(f / "run.json", '"fingerprint": "', '"fingerprint": "0'), "run.json",
             "not as it was written"),
    "no record": (lambda f: (f / "run.json").unlink(), "run.json", "is missing"),
    "tokenizer": (lambda f: flip(f / "tokenizer" / "lmlab_tokenizer.json"), "tokenizer", "tokenizer"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer", "is missing"),
    "metrics": (lambda f: edit(f / "metrics.jsonl", '{"step": 3', '{"step: 3'), "metrics.jsonl", "damaged line(s)"),
    "summary": (lambda f: edit(f / "summary.json", '"steps": 6', '"steps": 7'), "summary.json",
                "not as it was written"),
    "array": (lambda f: flip(data_of(f, 6)), "checkpoints/6", "is not as it was saved"),
    "older array": (lambda f: data_of(f, 3).unlink(), "checkpoints/3", "is missing"),
    "cut off": (lambda f: (f / "checkpoints" / "6" / "manifest.json").unlink(), "checkpoints/6", "was cut off"),
    "added": (lambda f: (f / "checkpoints" / "3" / "new").touch(), "checkpoints/3", "new was added"),
}


@pytest.mark.parametrize("harm", HARM)
def test_each_damage_is_named(copy, harm):
    act, part, words = HARM[harm]
    act(copy)
    code, states, out, err = verify(copy)
    assert code == 1 and states[part] == "DAMAGED" and err.count("\n") == 1 and err.startswith("error: "), (out, err)
    assert words in next(line for line in out.splitlines() if line.split()[0] == part), out
    others = {name for name, state in states.items() if state != "whole"} - {part}
    assert others <= ({"tokenizer"} if part == "run.json" else set())  # which cannot be checked without it
    newest = "none" if part == "checkpoints" else "checkpoints/3" if part == "checkpoints/6" else "checkpoints/6"
    assert f"newest whole checkpoint is {newest}" in err


def test_parts_of_another_run(copy, tmp_path):
    """Each whole in itself."""
    other = shutil.copytree(tiny() / "run", tmp_path / "other")
    rewrite(other, '"seed": 0', '"seed": 1')
    shutil.copy(other / "config.json", copy)
    assert verify(copy)[1]["config.json"] == "DAMAGED"
    run.save_tokenizer(plain.Chars("".join(map(chr, range(32, 32 + 255)))), copy)
    assert verify(copy)[1]["tokenizer"] == "DAMAGED"


def test_an_edit_on_purpose_is_let_pass_by_the_line_that_is_removed(copy):
    edit(copy / "config.json", '"steps": 6', '"steps": 9')
    code, _, out, _ = verify(copy)
    assert code == 1 and "remove its line 'sha256'" in out
    lines = (copy / "config.json").read_text().splitlines()
    (copy / "config.json").write_text("\n".join(line for line in lines if f'"{sealed.KEY}"' not in line))
    code, states, out, _ = verify(copy)
    assert code == 0 and states["config.json"] == "whole" and "9 steps" in out


def test_what_was_set_aside_is_no_damage(copy):
    (copy / "checkpoints" / "3").rename(copy / "checkpoints" / "3.corrupt")
    code, states, _, _ = verify(copy)
    assert code == 0 and states["checkpoints/3.corrupt"] == "-"


def test_a_run_that_trains(copy):
    """It holds its folder, a save is under way, and a line of the log is half written."""
    (copy / "checkpoints" / "6" / "manifest.json").unlink()
    with open(copy / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 7, "lo')
    with only_one(copy):
        code, states, out, _ = verify(copy)
    assert code == 0 and states["checkpoints/6"] == "-" and "being saved" in out and "in use" in out
    assert verify(copy)[1]["checkpoints/6"] == "DAMAGED"  # the control: nobody holds it any more


def test_no_run_folder(copy):
    for name, words in (("rnu", "rnu is no run folder; did you mean 'run'"), ("run/plots", "plots is no run folder")):
        done = quick("verify", f"--run={copy.parent / name}")
        assert done.code == 1 and words in done.err and done.err.count("\n") == 1 and not done.out
