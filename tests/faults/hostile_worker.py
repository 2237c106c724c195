"""A process that gives hostile files to readers: one JSON request a line in, {"reader", "path"}, one answer out.

BASE, its one argument, holds case/ (the hostile files), outside/, home/, cwd/, cache/ and tmp/. An audit hook tells of
every command, connection, unpickled global, foreign code, and of files written outside cache/ and tmp/. The memory that
it may take beyond what it has after its imports is bounded.
"""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

BASE = Path(sys.argv[1])
ROOM = 3 * 2 ** 29  # bytes of address space beyond what the imports took
TEXTS = ("the cat", "a" * 40, "<s>[INST] x </s>", "\0 春 \U000f0000")
MESSAGES = [{"role": "user", "content": "hello <s>"}, {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "bye"}]
_CALLS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn",
          "pty.spawn",
          "socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "pickle.find_class",
          "webbrowser.open"}
# The argument that is the path changed, and the one that is the folder it starts from.
_PATHS = {"os.mkdir": (0, 2), "os.rename": (1, 3), "os.link": (1, 3), "os.symlink": (1, 2), "os.remove": (0, 1),
          "os.rmdir": (0, 1), "os.chmod": (0, 2), "os.chown": (0, 3), "os.truncate": (0, 9)}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
seen = []


def audit(event, args):
    """Notes what no reader has to do."""
    if event in _CALLS:
        seen.append(f"{event} {str(args)[:200]}")
    elif event == "open" and isinstance(args[2], int) and args[2] & _WRITES and not isinstance(args[0], int):
        note_write(event, args[0])
    elif event in _PATHS:
        path, start = _PATHS[event]
        note_write(event, args[path], args[start] if start < len(args) else -1)
    elif event == "exec" and str(getattr(args[0], "co_filename", "")).startswith(str(BASE)):
        seen.append(f"exec of {args[0].co_filename}")
    elif event == "ctypes.dlopen" and str(args[0]).startswith(str(BASE)):
        seen.append(f"dlopen of {args[0]}")


def note_write(event, path, start=-1):
    """A change of a file that lies neither in cache/ nor in tmp/. start: the open folder that a path may begin from."""
    base = os.readlink(f"/proc/self/fd/{start}") if isinstance(start, int) and start >= 0 else ""
    path = os.path.realpath(os.path.join(base, os.fsdecode(path))) if not isinstance(path, int) else ""
    if path and not path.startswith((f"{BASE}/cache", f"{BASE}/tmp", "/dev/")):
        seen.append(f"{event} {path}")


def speak(tokenizer):
    """Uses a tokenizer, be it none."""
    if tokenizer is not None:
        for text in TEXTS:
            tokenizer.decode(tokenizer.encode(text)[:100])
        if tokenizer.chat_template:
            from lmlab.data import chat
            chat.encode_chat(tokenizer, MESSAGES)


def load(path):
    """lmlab.load, and a word with what it gives."""
    from lmlab import run
    speak(run.load(path).tokenizer)


def from_elsewhere(path):
    """interop.load."""
    from lmlab import interop
    speak(interop.load(path).tokenizer)


def weights(path):
    """Safetensors, of a folder or a file."""
    from lmlab.interop import weights as reader
    arrays = reader.read(path) if Path(path).is_dir() else reader.read_file(Path(path))
    for array in arrays.values():
        array.tobytes()


def gguf(path):
    """A GGUF file, each tensor dequantised."""
    from lmlab.interop import gguf_file
    for tensor in gguf_file.read(path).tensors.values():
        tensor.dequantise()


def tokenizer(path):
    """config.tokenizer.path, or the tokenizer of a folder of Hugging Face's."""
    from lmlab.data import tokenizers
    from lmlab.interop import tokenizers as foreign
    speak(foreign.load(path) if Path(path).is_dir() else tokenizers.build("file", path=path, corpus=None))


def own_tokenizer(path):
    """The tokenizer of a run."""
    from lmlab import run
    speak(run.load_tokenizer(path))


def text(path):
    """config.data.path."""
    from lmlab.data import sources
    drain(sources.files(path))


def tfds(path):
    """config.data.source=tfds."""
    from lmlab.data import sources
    drain(sources.tfds(path))


def drain(source):
    """Reads all documents of a source."""
    for stream in source.streams.values():
        for document in stream():
            document.encode("utf-8")


def data_archive(path):
    """The catalog of data, had it this file in it."""
    from lmlab.data import catalog
    catalog.CATALOG["hostile"] = catalog.Entry(pinned(path), "*", "hostile", "none")
    drain(catalog.load("hostile"))


def model_archive(path):
    """The catalog of models, had it this file in it."""
    from lmlab.interop import catalog
    catalog.CATALOG["hostile"] = catalog.Entry(pinned(path), "m/", ("config.json", "1_Pooling/config.json"), "none")
    catalog.folder("hostile")


def pinned(path):
    """The file as an archive that was fetched already."""
    from lmlab.utils.archives import Archive
    from lmlab.utils.files import cache_dir, sha256_file
    if not os.path.isfile(path):
        raise OSError("an archive is a file")
    place = cache_dir() / "catalog" / "hostile.zip"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    shutil.copyfile(path, place)
    return Archive("hostile", place.name, sha256_file(place))


def checkpoint(path):
    """The newest checkpoint of a folder."""
    from lmlab.train import checkpoint as reader
    step = reader.newest(path, log=lambda line: None)
    if step is not None:
        reader.restore_params(path, step)


def template(path):
    """A chat template."""
    from lmlab.data import chat
    chat.render(Path(path).read_text("utf-8"), MESSAGES, bos_token="<s>")


READERS = {reader.__name__: reader for reader in (
    load, from_elsewhere, weights, gguf, tokenizer, own_tokenizer, text, tfds, data_archive, model_archive, checkpoint,
    template)}
# What no reader does: for the test that the harness sees each.
UNPICKLE = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
CONTROLS = {
    "unpickles": lambda path: subprocess.run([sys.executable, "-c", UNPICKLE, path], stderr=subprocess.DEVNULL),
    "unzips": lambda path: [Path(path).parent.joinpath(name).write_bytes(b"x") for name in
                            zipfile.ZipFile(path).namelist()],
    "writes beside it": lambda path: Path(path).with_name("more").write_text("x"),
    "hangs": lambda path: time.sleep(1000),
    "takes memory": lambda path: bytearray(2 * ROOM),
    "crashes": lambda path: os.abort(),
    "raises": lambda path: {}[path],
}


def attempt(request):
    """(how it ended, the error's line, where it was raised)."""
    from lmlab.utils.errors import UserError
    try:
        (READERS | CONTROLS)[request["reader"]](request["path"])
        return "read", "", ""
    except (UserError, OSError) as error:
        return type(error).__name__, str(error) if isinstance(error, UserError) else "", ""
    except BaseException as error:
        import traceback
        frames = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        return "FAILED", f"{type(error).__name__}: {str(error)[:300]}", " ".join(frames[-6:])


def main():
    """Serves until the input ends."""
    import jax
    import orbax.checkpoint  # noqa: F401
    import tensorflow_datasets  # noqa: F401

    import lmlab.run  # noqa: F401
    jax.numpy.zeros(3) + 1
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
    sys.addaudithook(audit)
    answers.write("{}\n")
    for line in sys.stdin:
        seen.clear()
        how, message, where = attempt(json.loads(line))
        answers.write(json.dumps([how, message, where, seen]) + "\n")


if __name__ == "__main__":
    main()
