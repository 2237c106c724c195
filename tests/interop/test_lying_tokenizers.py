"""Tokenizers whose numbers would have the library end the process for want of memory, or panic: each one line."""

import base64
import json
import resource
import subprocess
import sys

import pytest

from lmlab.data.tokenizers import huggingface
from lmlab.interop import sentences, tokenizers
from lmlab.utils.errors import UserError

_SWELL = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 8}
LIES = [
    ("normalizer", {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 4).decode()},
     "is cut off"),
    ("normalizer", {"type": "Prepend", "prepend": "x" * 10 ** 6}, "its normalizer makes texts 1000001 times as long"),
    ("decoder", {"type": "Sequence", "decoders": [_SWELL] * 30},
     "its decoder makes texts 1237940039285380274899124224"),
    ("model", {"type": "WordLevel", "vocab": {"</s>": 0, "a": 2 ** 32 - 2}, "unk_token": "a"}, "has an id 4294967294"),
]


def folder_of(path, **changes):
    """A folder with a small tokenizer.json, some of its parts others."""
    tokenizer = huggingface.HuggingFace.train(["the cat and the dog"], 260)
    (path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json() | changes))
    return path


@pytest.mark.parametrize("part, lie, message", LIES)
def test_a_lie_is_one_line(part, lie, message, tmp_path):
    folder_of(tmp_path, **{part: lie})
    for read in (lambda: tokenizers.load(tmp_path),
                 lambda: huggingface.HuggingFace.from_file(tmp_path / "tokenizer.json")):
        with pytest.raises(UserError, match=message):
            read()


def test_padding_is_off_before_the_first_text(tmp_path):
    """In a process with little memory: to pad as the file asks would end it."""
    folder_of(tmp_path, padding={"strategy": {"Fixed": 10 ** 12}, "direction": "Right", "pad_to_multiple_of": None,
                                 "pad_id": 0, "pad_type_id": 0, "pad_token": "a"})
    code = "import sys; from lmlab.interop import tokenizers; print(tokenizers.load(sys.argv[1]).encode('the'))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 ** 33, 2 ** 33)))
    assert done.returncode == 0 and json.loads(done.stdout), done.stderr


def test_a_panic_of_the_library_is_one_line(tmp_path):
    folder_of(tmp_path, decoder={"type": "Strip", "content": "a", "start": 2 ** 62, "stop": 2 ** 62})
    tokenizer = tokenizers.load(tmp_path)
    with pytest.raises(UserError, match="the tokenizer fails on this text .PanicException"):
        tokenizer.decode(tokenizer.encode("the cat"))


def test_a_path_of_modules_that_is_no_path(tmp_path):
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "x.Transformer", "path": "a\0b"}]))
    with pytest.raises(UserError, match="leads out of the folder"):
        sentences.read(tmp_path)
