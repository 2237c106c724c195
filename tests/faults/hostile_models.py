"""Hostile models: safetensors, GGUF, configs, run folders and tfds folders that lie."""

import hashlib
import json
import os
import struct
from collections.abc import Callable

from hostile import HUGE, NUMBERS, PICKLED, VALUES, _copy, _nested, _pickle, _write, change

def _tensors(pick, place):
    """A sound header {name: entry} and its data."""
    content = (place.good / "hf" / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8:8 + length]), content[8 + length:]


def safetensors(pick, folder, place):
    """A model.safetensors whose header lies."""
    _copy(place, folder, "hf")
    header, data = _tensors(pick, place)
    name = pick.choice([key for key in header if key != "__metadata__"])
    entry, other = header[name], pick.choice([key for key in header if key != "__metadata__"])
    begin, end = entry["data_offsets"]
    lie = pick.randrange(10)
    if lie == 0:
        entry["data_offsets"] = pick.choice([[begin, pick.choice(HUGE)], [-8, end], [end, begin], [begin + 1, end + 1],
                                             [begin], [0.0, 8.0], None, header[other]["data_offsets"],
                                             [2 ** 64, 2 ** 64 + 4]])
    elif lie == 1:
        entry["shape"] = pick.choice([[2 ** 32, 2 ** 32], [2 ** 62, 4], [0, 2 ** 62], [-1, -len(data)], [1] * 70, ["8"],
                                      None,
                                      [True], [2 ** 63], [[8]], 8, [0] * 9])
    elif lie == 2:
        entry["dtype"] = pick.choice(["O", "object", "F4", "", None, ["F32"], "BF16",
                                     "I64", "F8_E5M2", "U" * 10 ** 6, "\x1b[2J"])
    elif lie == 3:
        header = {f"{'x' * pick.choice([1, 10 ** 4])}{n}": entry for n in range(pick.choice([10, 1000]))}
    elif lie == 4:
        header[name] = pick.choice(VALUES)
    elif lie == 5:
        header["../../outside/evil"] = header.pop(name)
    elif lie == 6:
        header["__metadata__"] = pick.choice([_nested(3), ["x"] * 10, {"format": {"code": "os.system"}}])
    text = json.dumps(header).encode()
    if lie == 7:
        text = pick.choice([_nested(10 ** 5).encode(), _nested(5 * 10 ** 5, "{").encode(), b"", b"\xff\xfe",
                            text.replace(
            b"{", b"{" + f'"{name}": 1, "{name}": 2, '.encode(), 1), _pickle(pick, place), b" " * 2 ** 24 + text])
    length = pick.choice([*HUGE, 0, len(text) - 1, len(text) + len(data),
                         len(text) + len(data) + 1]) if lie == 8 else len(text)
    content = struct.pack("<Q", length) + text + data
    _write(folder / "model.safetensors", content[:pick.randrange(len(content))] if lie == 9 else content)


def index(pick, folder, place):
    """A model.safetensors.index.json that names files elsewhere, or none."""
    _copy(place, folder, "hf")
    os.rename(folder / "model.safetensors", folder / "part.safetensors")
    where = dict.fromkeys(key for key in _tensors(pick, place)[0] if key != "__metadata__")
    bad = pick.choice(["../outside/secret.safetensors", str(place.outside / "secret.safetensors"), "..", ".", "", "/",
                       "config.json",
                       "https://example.invalid/x.safetensors", "part.safetensors/../../outside/secret.safetensors",
                       "x" * 10_000, "nul\0l", "file:///etc/passwd", "\\\\host\\x", 7, None, ["part.safetensors"],
                       "\ud800"])
    where = {name: pick.choice([bad, "part.safetensors"]) for name in where}
    where[pick.choice(list(where))] = bad
    _write(folder / "model.safetensors.index.json",
           json.dumps({"weight_map": pick.choice([where] * 9 + [[], "x", None])}))


def _gguf_value(kind, value):
    if kind == 8:
        return struct.pack("<Q", len(value)) + value
    if kind == 9:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(_gguf_value(inner, item) for item in items)
    return struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 12: "<d"}[kind], value)


def _gguf_meta():
    """The metadata of a sound, tiny LLaMA: [(key, type, value)]."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode()
                                           for byte in range(256)), b"the", b"\xe2\x96\x81the"]
    kinds = [2, 3, 3, *[6] * 256, 1, 1]
    return [("general.architecture", 8, b"llama"), ("llama.embedding_length", 4, 8), ("llama.block_count", 4, 1),
            ("llama.context_length", 4, 32), ("llama.feed_forward_length", 4, 16), ("llama.attention.head_count", 4, 2),
            ("llama.attention.layer_norm_rms_epsilon", 6, 1e-5), ("tokenizer.ggml.model", 8, b"llama"),
            ("tokenizer.ggml.tokens", 9, (8, tokens)), ("tokenizer.ggml.scores", 9, (6, [0.0] * len(tokens))),
            ("tokenizer.ggml.token_type", 9, (5, kinds)), ("tokenizer.ggml.bos_token_id", 4, 1),
            ("tokenizer.ggml.eos_token_id", 4, 2), ("tokenizer.ggml.unknown_token_id", 4, 0),
            ("tokenizer.chat_template", 8, b"{{ messages[0].content }}"), ("general.alignment", 4, 32)], len(tokens)


def sound_gguf(change=lambda meta, infos: None, counts=None, version=3) -> bytes:
    """A tiny LLaMA as a GGUF file. change: alters its metadata and tensors' infos [name, dims, type, offset]."""
    meta, vocab = _gguf_meta()
    shapes = {"token_embd.weight": (8, vocab), "output_norm.weight": (8,), "output.weight": (8, vocab),
              **{f"blk.0.{name}.weight": dims for name, dims in {
                  "attn_norm": (8,), "ffn_norm": (8,), "attn_q": (8, 8), "attn_k": (8, 8), "attn_v": (8, 8),
                  "attn_output": (8, 8), "ffn_gate": (8, 16), "ffn_up": (8, 16), "ffn_down": (16, 8)}.items()}}
    infos, end = [], 0
    for name, dims in shapes.items():
        infos.append([name.encode(), list(dims), 0, end])
        end += -(-4 * dims[0] * (dims[1] if len(dims) > 1 else 1) // 32) * 32
    change(meta, infos)
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(infos), len(meta))))
    for key, kind, value in meta:
        head += _gguf_value(8, key.encode()) + struct.pack("<I", kind)
        head += value if isinstance(value, bytes) and kind != 8 else _gguf_value(kind, value)
    for name, dims, kind, offset in infos:
        head += _gguf_value(8, name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return head + bytes(-len(head) % 32) + bytes(end)


def gguf(pick, folder, place):
    """A GGUF file that lies: in a count, a metadatum, a tensor, a length, or anywhere."""
    lie = pick.randrange(6)

    def change(meta, infos):
        at, info = pick.randrange(len(meta)), pick.choice(infos)
        key, kind, value = meta[at]
        if lie == 1:
            meta[at] = pick.choice([(key, 4, pick.choice([0, 1, 7, 2 ** 31, 2 ** 32 - 1])), (key, 12, float("nan")),
                                    (key, 8, b"\xff"),
                                    (key, 10, 2 ** 63), (key, 8, b"\x1b[2J\n" + \
                                     b"x" * 999), (key, 7, True), (key, 5, -1),
                                    (key, 9, struct.pack("<IQ", pick.randrange(13), pick.choice(HUGE))),
                                    (key, 9, struct.pack("<IQ", 9, 1) * pick.choice([3, 10 ** 5])),
                                    (key, 9, (8, [b"\x1b"] * pick.choice([1, 261, 10 ** 5]))), (key, 99, b""),
                                    (key, 8, struct.pack("<Q", pick.choice(HUGE))), (key, 9, (6, [float("nan")] * 261)),
                                    (key, 9, (5, [pick.choice([-1, 0, 5, 9, 2 ** 31 - 1])] * 261)), meta[at - 1]])
            if meta[at][1] == 8 and len(meta[at][2]) == 8:
                meta[at] = (key, 99, meta[at][2])
        elif lie == 2:
            info[1] = pick.choice([[2 ** 32] * 4, [2 ** 63, 2], [0], [], [1] * 5,
                                  [1] * 2 ** 12, [2 ** 61, 8], [8, 2 ** 60], [3]])
        elif lie == 3:
            info[pick.choice([2, 3])] = pick.choice([2 ** 31, 7, 1, 30, 2 ** 32 - 1, 12, 64, 4])
        elif lie == 4:
            info[0] = pick.choice([b"../../outside/evil", b"blk.99999999999.attn_q.weight", b"blk.-1.attn_q.weight",
                                   b"\xff",
                                   b"x" * 10 ** 5, infos[0][0], b"\x1b[2J\n", b"", b"rope_freqs.weight", b"blk.0.0.0"])
    counts = pick.choice([(pick.choice(HUGE), 16), (11, pick.choice(HUGE)), (2 ** 16, 2 ** 16)]) if lie == 0 else None
    content = bytearray(sound_gguf(change, counts, pick.choice([3] * 9 + [1, 4, 0x03000000])))
    if lie == 5:
        for _ in range(pick.randint(1, 9)):
            content[pick.randrange(min(len(content), 6000))] = pick.randrange(256)
    path = folder / "model.gguf"
    _write(path, bytes(content[:pick.choice([len(content)] * 5 + [pick.randrange(len(content))])]))
    return [(reader, path) for reader in ("load", "gguf")]


def config(pick, folder, place):
    """A config.json with code to load, or with sizes and types that no model has."""
    _copy(place, folder, "hf")
    path = folder / "config.json"
    _write(folder / "modeling_evil.py", f"import os\nos.system({place.command.decode()!r})\n")
    values = json.loads(path.read_text()) | pick.choice([{}, {"trust_remote_code": True, "auto_map": {
        "AutoConfig": "modeling_evil.Evil", "AutoModelForCausalLM": "modeling_evil--modeling_evil.Evil",
        "AutoTokenizer": [
            "modeling_evil.Evil", None]}}, {"custom_pipelines": {"x": {"impl": "modeling_evil.Evil"}}}])
    for _ in range(pick.choice([0, 1, 1, 2, 4])):
        values[pick.choice(list(values))] = pick.choice(VALUES)
    values |= pick.choice([{}, {}, {"model_type": pick.choice(["evil", "bert", "t5", "gpt2", "gemma3_text", "qwen2",
                                                               "marian", "bart"])},
                           {"rope_scaling": pick.choice(
                               [*VALUES, {"rope_type": "llama3", "factor": pick.choice(NUMBERS)}])},
                           {"eos_token_id": pick.choice(VALUES)},
                           {"layer_types": ["sliding_attention"] * 10 ** 5, "sliding_window": 4}])
    _write(path, json.dumps(values))
    if pick.random() < 0.2:
        change(pick, path)
    if pick.random() < 0.2:
        _write(folder / "generation_config.json", json.dumps({"eos_token_id": pick.choice(VALUES)}))
    if pick.random() < 0.2:
        _write(folder / "modules.json",
               json.dumps([{"type": f"sentence_transformers.models.{pick.choice(['Transformer', 'Pooling', 'Evil'])}",
                                                     "path": pick.choice(["", "..", "../../outside", "/etc", "x", 7,
                                                                          "\0"])}] * 2))
    return [(reader, folder) for reader in ("load", "from_elsewhere")]


def linked(pick, folder, place):
    """A folder of Hugging Face's, one of whose files is a link to the outside, a pipe, a device, a pickle."""
    _copy(place, folder, "hf")
    path = folder / pick.choice(sorted(os.listdir(folder)))
    path.unlink()
    kind = pick.choice(["link", "pipe", "zero", "pickle", "folder", "gone", "unreadable"])
    if kind in ("link", "zero", "gone"):
        path.symlink_to({"link": place.outside /
     pick.choice(["secret", "secret.safetensors", ""]), "zero": "/dev/zero", "gone": "nowhere"}[kind])
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        _write(path, _pickle(pick, place))
        path.chmod(0 if kind == "unreadable" else 0o7777)


def _some_file(pick, folder, *names):
    """One of the files below a folder."""
    return pick.choice(sorted(path for path in folder.rglob(
        "*") if path.is_file() and (not names or path.name in names)))


def _harm(pick, path, place):
    """Makes of a file another: a pickle, a link, a pipe, half of it, other bits, a liar."""
    content = bytearray(path.read_bytes())
    how = pick.choice(["pickle", "cut", "bits", "zero", "pipe", "huge", "json"])
    if how == "json" and path.suffix == ".json":
        return change(pick, path)
    path.unlink()
    if how == "zero":
        return path.symlink_to("/dev/zero")
    if how == "pipe":
        return os.mkfifo(path)
    for _ in range(0 if how == "cut" else pick.randint(1, 20)):
        if content:
            at = pick.randrange(len(content))
            content[at:at + 8] = pick.choice([b"\xff" * 8, bytes(8), struct.pack("<Q",
                                             pick.choice(HUGE)), bytes([pick.randrange(256)])])
    _write(path, {"pickle": _pickle(pick, place), "cut": bytes(content[:len(content) // 2])}.get(how, bytes(content)))


def tfds(pick, folder, place):
    """A tfds folder whose description lies, or whose records are damaged or are arrays of objects."""
    _copy(place, folder, "tfds")
    for _ in range(pick.choice([1, 1, 2])):
        path = _some_file(pick, folder)
        if path.suffix == ".json" and pick.random() < 0.7:
            change(pick, path)
        else:
            _harm(pick, path, place)
    if pick.random() < 0.3:
        _write(folder / "features.json", json.dumps({"pythonClassName": pick.choice(
            ["os.system", "subprocess.Popen", "tensorflow_datasets.core.features.features_dict.FeaturesDict",
             "builtins.print", "x"]),
            "featuresDict": {"features": {"text": {"pythonClassName": pick.choice([
                "tensorflow_datasets.core.features.text_feature.Text", "os.system", "hostile_module.Evil",
                "tensorflow_datasets.core.features.tensor_feature.Tensor",
                "tensorflow_datasets.core.features.image_feature.Image"]),
                pick.choice(["text", "tensor", "image", "pythonContent"]): {"shape": {"dimensions": [str(2 ** 62)]},
                                                                            "dtype": "object"}}}}}))
        _write(folder / "hostile_module.py", f"import os\nos.system({place.command.decode()!r})\n")
    return [("tfds", folder)]


def run_folder(pick, folder, place):
    """A run folder with a pickle planted, a config, manifest or tokenizer that lies, or another checkpoint."""
    _copy(place, folder, "run")
    kind = pick.choice(["plant", "config", "manifest", "tokenizer", "checkpoint", "unsealed", "any"])
    steps = sorted((folder / "checkpoints").iterdir())
    if kind == "plant":
        where = pick.choice([folder, *(path for path in folder.rglob("*") if path.is_dir())])
        _write(where / pick.choice([*PICKLED, "_METADATA", "_CHECKPOINT_METADATA",
               "msgpack", "aggregate"]), _pickle(pick, place))
    elif kind in ("config", "tokenizer"):
        change(pick, {"config": folder / "config.json", "tokenizer": _some_file(pick, folder / "tokenizer")}[kind]
                if kind == "config" else folder / "tokenizer" / "lmlab_tokenizer.json")
    elif kind == "manifest":
        path = steps[-1] / "manifest.json"
        names = {pick.choice(["../../../../outside/secret", str(place.outside / "secret"), "/dev/zero", "/dev/tty",
                              "..", "", "\0",
                              "x" * 9999, "\x1b[2J"]): pick.choice(["0" * 64, None, 7, []])}
        _write(path, pick.choice([json.dumps(names), json.dumps(
            json.loads(path.read_text()) | names), "[]", _nested(10 ** 5), "{}"]))
    else:
        part = folder if kind == "any" else steps[-1]
        for _ in range(pick.choice([1, 1, 3])):
            _harm(pick, _some_file(pick, part), place)
        if kind == "unsealed":  # whoever wrote the files can write their hashes too
            files = [path for path in steps[-1].rglob("*") if path.is_file() and path.name != "manifest.json"]
            _write(steps[-1] / "manifest.json", json.dumps({
                str(path.relative_to(steps[-1])): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}))
    return [("load", folder), ("own_tokenizer", folder), ("checkpoint", folder / "checkpoints")]


MODELS: dict[Callable, int] = {safetensors: 12, index: 8, gguf: 16, config: 14,
                               linked: 6, tfds: 6, run_folder: 8}
