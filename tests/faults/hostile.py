"""Hostile files: case i of a seed is a folder of one of many kinds, its details drawn; here pickles, arrays, archives
and odd files, in `hostile_models` and `hostile_tokenizers` the formats of models. Pickles are bytes by hand.
"""

import copy
import io
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FOLDER = ("load", "from_elsewhere", "weights", "tokenizer", "own_tokenizer", "tfds", "checkpoint")
FILE = ("load", "weights", "gguf", "tokenizer", "text", "data_archive", "model_archive")
HUGE = (2 ** 31, 2 ** 32 - 1, 2 ** 40, 2 ** 60, 2 ** 62, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1)
# Where a pickle may be met: names that some library unpickles, and names of ours that hold something else.
PICKLED = ("pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt", "weights.pkl", "model.joblib",
           "training_args.bin", "data.npy", "data.npz", "optimizer.pt", "model.safetensors", "config.json",
           "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", "model.gguf", "text.txt",
           "text.jsonl", "text.csv", "dataset_info.json", "features.json", "lmlab_tokenizer.json", "manifest.json",
           "model.safetensors.index.json", "added_tokens.json", "tokenizer_config.json", "modules.json", "checkpoint",
           "sentencepiece.model", "generation_config.json", "special_tokens_map.json", "chat_template.jinja")


NUMBERS = (*HUGE, -1, -2 ** 63, 0, 1, 3, 10 ** 9, 10 ** 30, 1e308, float("nan"), float("inf"), -0.5, 1e-320)
VALUES = (*NUMBERS, None, True, "", "x", "../../outside", [], {}, [[]], [1] * 5000, {"a": {"b": {}}}, "1e9", "[" * 50,
          "\x1b[2J\n", [None], "9" * 5000)


class Place(NamedTuple):
    """What a hostile file is aimed at. outside: a folder that nothing may reach; canary: a file there, made by
    `command`; good: a folder with sound originals, hf/, run/ and tfds/."""
    outside: Path
    good: Path

    @property
    def canary(self) -> Path:
        """What exists once a hostile file was obeyed."""
        return self.outside / "canary"

    @property
    def command(self) -> bytes:
        """What makes it, for a shell."""
        return f"touch {self.canary}".encode()


def pickles(command: bytes) -> dict[str, bytes]:
    """Programs for the machine that unpickles, each of which runs a shell's command by other opcodes."""
    short, long = bytes([len(command)]) + command, struct.pack("<I", len(command)) + command
    named = b"\x8c\x02os\x8c\x06system\x93"
    framed = named + b"\x94\x8c" + short + b"\x94\x85\x94R\x94."
    state = b"cargparse\nNamespace\n)\x81}S'__setstate__'\ncos\nsystem\nsbS'" + command + b"'\nb."
    python = b"__import__('os').system('" + command + b"')"
    return {
        "reduce": b"cos\nsystem\n(S'" + command + b"'\ntR.",
        "inst": b"(S'" + command + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nX" + long + b"o.",
        "posix": b"\x80\x02cposix\nsystem\nq\x00X" + long + b"q\x01\x85q\x02Rq\x03.",
        "build": b"\x80\x02" + state,
        "builtin": b"\x80\x03cbuiltins\n" + b"ev" b"al\nX" + struct.pack("<I", len(python)) + python + b"\x85R.",
        "global": b"\x80\x04\x95" + struct.pack("<Q", len(framed)) + framed,
        "newer": b"\x80\x05\x95" + struct.pack("<Q", len(framed)) + framed,
        "later": b"\x80\x04]" + b"\x8c\x04good\x94a" * 50 + b"0" + framed,
        "call": b"\x80\x04csubprocess\ncall\n]\x8c\x02sha\x8c\x02-caX" + long + b"a\x85R.",
    }


def _pickle(pick, place) -> bytes:
    """One of them, now and then with a lie at its end."""
    content = pick.choice(list(pickles(place.command).values()))
    return content + pick.choice([b"", b"", b"\x80\x05\x96" + struct.pack("<Q", pick.choice(HUGE))])


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_fifo() or path.is_symlink():  # an earlier harm
        path.unlink()
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)


def _nested(depth, kind="["):
    return kind * depth if kind == "[" else '{"a":' * depth + "1" + "}" * depth


def _copy(place, folder, name):
    """The sound original in place of the new folder."""
    shutil.copytree(place.good / name, folder, dirs_exist_ok=True)


def change(pick, path, at=None):
    """Puts a strange value somewhere in a JSON file, or strange JSON in its place."""
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, (dict, list)):  # harmed before
        values = {"a": [1]}
    for _ in range(pick.choice([1, 1, 2, 5])):
        part = values
        while True:
            keys = list(part) if isinstance(part, dict) else range(len(part))
            if not keys:
                break
            key = pick.choice(keys)
            if isinstance(part[key], (dict, list)) and part[key] and pick.random() < 0.8:
                part = part[key]
                continue
            part[key] = copy.deepcopy(pick.choice(VALUES))  # or the next change would be to VALUES
            break
    text = json.dumps(values)
    text = pick.choice([text] * 12 + [_nested(10 ** 5), _nested(10 ** 5, "{"), text[:pick.randrange(len(text))],
                                      text * 2,
                                      "[]", "null", "1" + "0" * 5000, "\ufeff" + \
                                          text, '{"a": 1' + ', "a": 2' * 10 ** 5 + "}",
                                      '"' + "x" * 10 ** 6 + '"', text.replace(":", ": \x00", 1)])
    _write(path, text)


def _zip(members: dict[str, bytes]) -> bytes:
    """A zip file of members as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _npy(header: str, data: bytes, version=(1, 0), lie=None) -> bytes:
    length = len(header) if lie is None else lie
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0)
                                else "<I", length) + header.encode() + data


def plain_pickle(pick, folder, place):
    """A pickle under one of the names."""
    _write(folder / pick.choice(PICKLED), _pickle(pick, place))


def torch_zip(pick, folder, place):
    """What torch.save makes, and its data.pkl a pickle of ours."""
    top = pick.choice(["archive", "model", ".", ".."])
    members = {f"{top}/data.pkl": _pickle(pick, place), f"{top}/version": b"3\n", f"{top}/data/0": bytes(64),
               f"{top}/byteorder": b"little", "constants.pkl": _pickle(pick, place),
               f"{top}/code/__torch__.py": b"import os; os.system('" + place.command + b"')"}
    _write(folder / pick.choice(PICKLED), _zip(members))


def wrapped_pickle(pick, folder, place):
    """A pickle compressed as joblib does, or in a tar."""
    content = _pickle(pick, place)
    if pick.random() < 0.3:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            member = tarfile.TarInfo("pickle")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        content = file.getvalue()
    else:
        content = pick.choice([zlib.compress(content), b"\x1f\x8b" + content])
    _write(folder / pick.choice([*PICKLED, "text.txt.gz", "text.jsonl.gz"]), content)


def arrays(pick, folder, place):
    """An .npy, or .npz, of objects, of a shape that lies, or with a program for a header."""
    shape = pick.choice([f"({pick.choice(HUGE)},)", f"({2 ** 32}, {2 ** 32})", "(-1,)", "(1,)", "()",
                         "(0, 9" + "9" * 40 + ")",
                         "('a',)", "(" * 200 + ")" * 200])
    descr = pick.choice(["'|O'", "'|O8'", "'<f4'", "'<f8'", "[('a', '|O')]", "'<U999999999'", "'V2147483647'",
                         f"__import__('os').system('{place.command.decode()}')"])
    order = pick.choice(["False", "True", "None", "7"])
    header = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n" % (descr, order, shape)
    content = _npy(header, pick.choice([_pickle(pick, place), b"", bytes(16)]),
                   pick.choice([(1, 0), (2, 0), (3, 0), (9, 9)]),
                   pick.choice([None, None, 60000]))
    content = content[:pick.choice([len(content)] * 3 + [pick.randrange(len(content))])]
    name = pick.choice(["data.npy", "data.npz", *PICKLED])
    _write(folder / name, _zip({"arr_0.npy": content}) if name.endswith("z") else content)


def _slips(pick, place):
    """A name that leads out of a folder, or is none at all."""
    outside = str(place.outside)
    return pick.choice(["../" * pick.randint(1, 9) + "outside/evil", f"{outside}/evil", "..\\..\\outside\\evil",
                        "C:\\evil", "C:/evil", "//evil", "\\\\host\\share\\evil", "m/../../evil", "./../evil", "..",
                        "/", "",
                        "m/config.json/../../../evil", "x" * 10_000, "a/" * \
                            4000 + "b", "nul\0l", "line\nbreak", "\x1b[2Jx",
                        "~/evil", "$HOME/evil", "m/config.json", "\u202eevil", "CON", f"{outside}\0.txt"])


def zip_slip(pick, folder, place):
    """A zip whose members leave the folder, are links, are there twice, or are hidden by another's name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", pick.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                                 zipfile.ZIP_BZIP2])) as archive:
        for name in [*(_slips(pick, place) for _ in range(pick.randint(1, 5))),
                       "m/config.json", "m/1_Pooling/config.json"]:
            member = zipfile.ZipInfo("x")
            member.filename = name
            mode = pick.choice([0o100644, 0o120777, 0o104777, 0o060666, 0o010666, 0o040755])
            member.external_attr = mode << 16
            try:
                archive.writestr(member, pick.choice([b"evil", str(place.canary).encode(), b"../../outside"]))
            except ValueError:  # zipfile's own idea of a name
                continue
    _write(folder / "hostile.zip", file.getvalue())


def tar_slip(pick, folder, place):
    """A tar whose members leave the folder, are links out of it, devices, setuid."""
    file = io.BytesIO()
    kinds = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
             tarfile.DIRTYPE, tarfile.CONTTYPE, b"Z"]
    form = pick.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=file, mode=pick.choice(["w", "w:gz", "w:xz"]), format=form) as archive:
        for _ in range(pick.randint(1, 6)):
            member = tarfile.TarInfo(_slips(pick, place).replace("\0", "") or "x")
            member.type, member.mode = pick.choice(kinds), pick.choice([0o644, 0o4777, 0o2777, 0o7777, 0])
            member.linkname = pick.choice([str(place.canary), "../../outside/secret",
                                          "/etc/passwd", "/dev/zero", member.name])
            member.devmajor, member.devminor = 1, 5
            member.uid = pick.choice([0, 1000])
            member.size = 4 if member.type in (tarfile.REGTYPE, tarfile.CONTTYPE, b"Z") else 0
            archive.addfile(member, io.BytesIO(b"evil"))
    _write(folder / "hostile.tar", file.getvalue())


def bomb(pick, folder, place):
    """Some megabytes that unpack to gigabytes: a zip, a tar.gz, a .txt.gz."""
    kind, times = pick.choice(["zip", "tar.gz", "txt.gz", "jsonl.gz"]), pick.choice([1600, 2000])
    piece = bytes(2 ** 20) if kind in ("zip", "tar.gz") else b"a" * 2 ** 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed, size = first * times + packer.flush(), times * 2 ** 20
    if kind == "zip":
        crc = pick.getrandbits(32)
        name = b"m/config.json"
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), size & 0xffffffff, len(name), 0)
        entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), size & 0xffffffff,
                            len(name), 0, 0,
                            0, 0, 0, 0)
        end = struct.pack(
    "<4s4H2LH",
    b"PK\5\6",
    0,
    0,
    1,
    1,
    len(entry) +
    len(name),
    len(local) +
    len(name) +
    len(packed),
     0)
        content = local + name + packed + entry + name + end
    else:
        start = b""
        if kind == "tar.gz":
            member = tarfile.TarInfo("bomb.txt")
            member.size = size
            start = packer_of(member.tobuf())
        content = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start + packed + bytes(8)
    _write(folder / f"hostile.{kind}", content)
    return [folder / f"hostile.{kind}"]


def packer_of(content: bytes) -> bytes:
    """Deflated bytes to which others can be appended."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def lying_zip(pick, folder, place):
    """A sound zip with some bytes of its headers changed."""
    content = bytearray(_zip({"m/config.json": b"{}" * 99, "m/1_Pooling/config.json": b"{}", "x": b"y" * 500}))
    for _ in range(pick.randint(1, 8)):
        at = pick.choice([pick.randrange(30), len(content) - 1 - pick.randrange(200), pick.randrange(len(content))])
        content[at] = pick.choice([0, 255, pick.randrange(256)])
    _write(folder / "hostile.zip", bytes(content[:pick.choice([len(content)] * 4 + [pick.randrange(len(content))])]))


def odd_file(pick, folder, place):
    """A named pipe, a device, a link in a circle, a link to the outside or a folder where a file should be."""
    path = folder / pick.choice([*PICKLED, "model.gguf", "text.txt.gz"])
    kind = pick.choice(["pipe", "zero", "full", "circle", "tty", "folder",
                       "nowhere", "root", "random"] * 3 + ["sparse"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.write(pick.choice([b"", b"GGUF\3\0\0\0", struct.pack("<Q", 2 ** 39) + b"{", b'{"a":'] ))
            file.truncate(pick.choice([2 ** 30, 2 ** 40]))
    else:
        target = {"zero": "/dev/zero", "full": "/dev/full", "circle": path.name, "tty": "/dev/tty",
                  "nowhere": "/nowhere/at/all",
                  "root": "/", "random": "/dev/urandom"}[kind]
        path.symlink_to(target)


def odd_name(pick, folder, place):
    """Names that would write to the terminal, or break a line in two."""
    name = pick.choice(["a\nerror: all is well", "\x1b]0;owned\x07\x1b[2J", "a\rb", "\x9b31m", "\u202egpj",
                        "a\tb\x08\x08", "\u2028x",
                        "-rf", "%s%n", "{0}", "[a]", "*", "~", "\udcff\udcfe", "'; touch x; '", "a" * 200, "catalog:x"])
    base = folder / (name + pick.choice(["", ".txt", ".gguf", ".json", ".safetensors", ".jsonl"]))
    if pick.random() < 0.3:
        base.mkdir()
        name = pick.choice(PICKLED)
        _write(base / name, pick.choice([b"", b"\0\xff", b"{}", b'{"model_type": "llama"}']))
        return [base, base / name]
    _write(base, pick.choice([b"", b"\0\xff", b"{\n", b"GGUF"]))
    return [base, base.with_name(base.name + "\x1b[31mmissing")]


OURS: dict[Callable, int] = {plain_pickle: 12, torch_zip: 8, wrapped_pickle: 6, arrays: 10, zip_slip: 12, tar_slip: 12,
                             bomb: 1, lying_zip: 8, odd_file: 8, odd_name: 10}


def make(folder: Path, place: Place, seed: int, i: int,
         kinds: dict[Callable, int]) -> tuple[str, list[tuple[str, str]]]:
    """Makes case i in a new folder.

    Args:
      kinds: {function that makes files in a folder: how often, compared with the others}.
    Returns:
      (its kind, [(reader, path)]): what is to be tried.
    """
    order = [kind for kind, share in kinds.items() for _ in range(share)]
    random.Random(seed).shuffle(order)
    pick, kind = random.Random(f"{seed}/{i}"), order[i % len(order)]
    folder.mkdir()
    paths = kind(pick, folder, place) or [folder, *sorted(folder.iterdir())[:3]]
    if isinstance(paths[0], tuple):
        return kind.__name__, [(reader, str(path)) for reader, path in paths]
    tries = [(reader, str(path)) for path in paths for reader in (FOLDER if path.is_dir() else FILE)
             if "archive" not in reader or path.is_file() and path.stat().st_size < 2 ** 26]
    return kind.__name__, tries
