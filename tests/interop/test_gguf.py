"""GGUF files: read as the gguf package reads them, as the models they were made from, and never believed unchecked."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from lmlab.interop import gguf, gguf_file, gguf_tokenizer, huggingface
from lmlab.interop.families import FAMILIES
from lmlab.utils.errors import UserError

official = pytest.importorskip("gguf")
KINDS = [kind for kind in official.GGMLQuantizationType if gguf_file._kind(kind.value)[2]]
VALUES = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
          "rope_theta": 5000.0, "vocab_size": 259, "tie_word_embeddings": False, "hidden_act": "silu", "head_dim": 4}


def hf_tensors(seed=0):
    """A tiny LLaMA as Hugging Face names it."""
    rng, v = np.random.default_rng(seed), VALUES
    D, F, H, G, K = (v[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads",
                                        "num_key_value_heads", "head_dim"))
    layer = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D),
             "self_attn.o_proj": (D, H * K), "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F),
             "input_layernorm": (D,), "post_attention_layernorm": (D,)}
    shapes = {f"model.layers.{n}.{name}": shape for n in range(v["num_hidden_layers"]) for name, shape in layer.items()}
    shapes |= {"model.embed_tokens": (v["vocab_size"], D), "model.norm": (D,), "lm_head": (v["vocab_size"], D)}
    return {f"{name}.weight": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def interleaved(rows, heads):
    """Rows of queries or keys as llama.cpp's conversion orders them: pairs half a head apart come side by side."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def write(path, tensors, *, change=(), kind="F32", tokenizer=True):
    """Writes a GGUF file with the gguf package: names by its own table, the tokens of all bytes and two merges.

    change: {metadata key: value, or None to leave it out}."""
    writer = official.GGUFWriter(path, "llama")
    meta = {"llama.embedding_length": 16, "llama.block_count": 2, "llama.feed_forward_length": 24,
            "llama.context_length": 32, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
            "llama.rope.dimension_count": 4, **dict(change)}
    for key, value in meta.items():
        if value is not None:
            {int: writer.add_uint32, str: writer.add_string, tuple: writer.add_array}[type(value)](key, value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5000.0)
    if tokenizer:
        from tokenizers import pre_tokenizers
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list([*sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "hel", "<|end|>"])
        writer.add_token_types([1] * 258 + [3])
        writer.add_token_merges(["h e", "he l"])
        writer.add_eos_token_id(258)
        writer.add_chat_template("{{ messages }}")
    table = official.get_tensor_name_map(official.MODEL_ARCH.LLAMA, 2)
    kind = official.GGMLQuantizationType[kind]
    for name, array in tensors.items():
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
        array = interleaved(array, heads) if heads else array
        name = table.get_name(name, try_suffixes=(".weight",))
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            data = official.quants.quantize(array, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny LLaMA in a GGUF file, in float32."""
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", hf_tensors())


def test_metadata_and_tensors_are_what_the_package_reads(tiny):
    ours, theirs = gguf_file.read(tiny), official.GGUFReader(tiny)
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.kind == tensor.tensor_type.name and mine.shape == tuple(reversed(tensor.shape.tolist()))
        np.testing.assert_array_equal(mine.dequantise(), official.quants.dequantize(tensor.data, tensor.tensor_type))
    said = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in ours.meta.items()} == said


def test_every_type_that_the_package_dequantises(tmp_path):
    rng = np.random.default_rng(0)
    writer = official.GGUFWriter(tmp_path / "x.gguf", "llama")
    for kind in KINDS:
        block, size = official.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 128, (1500, 512 // block * size), np.uint8)
        data = data.view({"F32": np.float32, "F16": np.float16}.get(kind.name, np.uint8))
        writer.add_tensor(kind.name, data, raw_dtype=kind)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    found = gguf_file.read(tmp_path / "x.gguf").tensors
    assert len(found) == len(KINDS) > 20
    with np.errstate(all="ignore"):
        for tensor in official.GGUFReader(tmp_path / "x.gguf").tensors:
            expected = official.quants.dequantize(tensor.data, tensor.tensor_type)
            assert found[tensor.name].shape == (1500, 512) == expected.shape
            np.testing.assert_array_equal(found[tensor.name].dequantise(), expected)


def test_the_model_is_that_of_the_folder_it_was_made_from(tiny, assert_same):
    found = gguf.load(tiny)
    kwargs, params, _ = huggingface.assemble(FAMILIES["llama"], VALUES, hf_tensors(), "config.json")
    assert found.kwargs == kwargs
    assert_same(found.params, params)
    assert found.extras["generation"] == {"eos": 258} and found.extras["missing"] == []


def test_tied_embeddings_and_quantised_weights(tmp_path, tiny):
    tensors = hf_tensors()
    del tensors["lm_head.weight"]
    tied = gguf.load(write(tmp_path / "tied.gguf", tensors, kind="F16"))
    whole = gguf.load(tiny)
    assert tied.kwargs["tied"] and "head" not in tied.params
    np.testing.assert_allclose(tied.params["token_embedding"], whole.params["token_embedding"], rtol=2e-3)
    np.testing.assert_array_equal(tied.params["trunk"]["blocks"]["norm_ff"]["scale"],
                                  whole.params["trunk"]["blocks"]["norm_ff"]["scale"])


def test_the_tokenizer(tiny, tmp_path):
    tokenizer = gguf.load(tiny).tokenizer
    names = gguf_file.read(tiny).meta["tokenizer.ggml.tokens"]
    assert [names[i] for i in tokenizer.encode("hello 12")] == ["hel", "l", "o", "Ġ", "1", "2"]
    assert tokenizer.decode(tokenizer.encode("春 眠\n")) == "春 眠\n"
    assert tokenizer.eod == 258 and tokenizer.chat_template == "{{ messages }}" and tokenizer.specials["bos"] == -1
    assert 258 not in tokenizer.encode("<|end|>")
    assert gguf.load(write(tmp_path / "x.gguf", hf_tensors(), tokenizer=False)).tokenizer is None


def test_llama3_begins_with_bos_unless_the_file_says_otherwise(tiny):
    for change, bos in (({}, 257), ({"add_bos_token": False}, -1)):
        meta = {**gguf_file.read(tiny).meta, **{f"tokenizer.ggml.{key}": value for key, value in {
            "pre": "llama-bpe", "bos_token_id": 257, **change}.items()}}
        assert gguf_tokenizer.build("x.gguf", meta).specials["bos"] == bos


def test_what_is_not_supported_is_one_line(tmp_path):
    tensors = hf_tensors()
    for number, (change, words) in enumerate({
            ("llama.block_count", None): "llama.block_count is missing",
            ("llama.block_count", 10 ** 9): "block_count=1000000000 of 21 tensors",
            ("llama.block_count", "two"): "block_count=two must be one positive number",
            ("llama.attention.head_count_kv", 3): "kv_heads=3",
            ("llama.attention.head_count", 0): "head_count=0 must be one positive number",
            ("llama.feed_forward_length", 32): "gate_proj.weight. has shape",
            ("llama.expert_count", 8): "llama.expert_count=8 is not supported",
            ("llama.rope.dimension_count", 2): "only a whole head's 4",
            ("llama.rope.dimension_count", (4, 4)): "only a whole head's 4",
            ("llama.feed_forward_length", (24, 24)): "feed_forward_length=.24, 24. must be one positive number",
            ("llama.expert_count", (1, 2)): "expert_count",
            ("llama.rope.scaling.type", "yarn"): "yarn"}.items()):
        with pytest.raises(UserError, match=words) as error:
            gguf.load(write(tmp_path / f"{number}.gguf", tensors, change=[change]))
        assert "\n" not in str(error.value) and f"{number}.gguf" in str(error.value)
    writer = official.GGUFWriter(tmp_path / "x.gguf", "lama")
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    with pytest.raises(UserError, match="general.architecture='lama' is none that lmlab reads; did you mean 'llama'"):
        gguf.load(tmp_path / "x.gguf")


def header(tensors, metadata, rest=b"", version=3):
    """The bytes of a file that tells of so many tensors and metadata."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def text(content, length=None):
    """A string as GGUF writes it, perhaps with another length."""
    return struct.pack("<Q", len(content) if length is None else length) + content


def info(name=b"a", shape=(2,), kind=0, offset=0, axes=None):
    """A tensor's entry."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape) if axes is None else axes, *shape, kind, offset)


KEY = text(b"k")
BAD = {
    "nothing": (b"", "empty"),
    "another file": (b"PK\3\4" + b"x" * 50, "not a GGUF file"),
    "big-endian": (header(0, 0, version=3 << 24), "GGUF version 50331648"),
    "cut off": (header(0, 0)[:10], "the header"),
    "2**63 metadata": (header(0, 2 ** 63), "damaged: 0 tensors and 9223372036854775808 metadata"),
    "2**64-1 tensors": (header(2 ** 64 - 1, 0), "damaged"),
    "metadata beyond the file": (header(0, 60000, KEY + struct.pack("<IB", 7, 1)), "damaged: a key has 8 bytes more"),
    "a key of 2**63": (header(0, 1, text(b"k", 2 ** 63)), "a key has 9223372036854775808 bytes more"),
    "a text of 2**40": (header(0, 1, KEY + struct.pack("<I", 8) + text(b"x", 2 ** 40)), "'k' has 1099511627776 bytes"),
    "2**61 numbers": (header(0, 1, KEY + struct.pack("<IIQ", 9, 12, 2 ** 61)), "metadata 'k' has 18446744073709551616"),
    "2**61 texts": (header(0, 1, KEY + struct.pack("<IIQ", 9, 8, 2 ** 61)), "metadata 'k' has"),
    "lists of lists": (header(0, 1, KEY + struct.pack("<IIQ", 9, 9, 1)), "metadata 'k' is of unknown type 9"),
    "unknown type": (header(0, 1, KEY + struct.pack("<I", 99)), "metadata 'k' is of unknown type 99"),
    "no UTF-8": (header(0, 1, text(b"\xff") + struct.pack("<IB", 7, 1)), "a key is no UTF-8"),
    "a key twice": (header(0, 2, 2 * (KEY + struct.pack("<IB", 7, 1))), "metadata 'k' stands twice"),
    "alignment 0": (header(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 0)), "general.alignment"),
    "2**32-1 axes": (header(1, 0, info(axes=2 ** 32 - 1)), "tensor 'a' has 4294967295 axes"),
    "no axes": (header(1, 0, info(shape=())), "tensor 'a' has 0 axes"),
    "an axis of 0": (header(1, 0, info(shape=(0, 2 ** 63))), "axis of length 0"),
    "huge": (header(1, 0, info(shape=(2 ** 63, 2 ** 63))), "tensor 'a' (F32, shape (9223372036854775808"),
    "beyond the file": (header(1, 0, info(shape=(100,))), "tensor 'a' (F32, shape (100,)) does not fit in"),
    "offset beyond": (header(1, 0, info(offset=2 ** 63)), "does not fit in at byte 9223372036854775808"),
    "part of a block": (header(1, 0, info(shape=(33,), kind=2) + b"x" * 99), "tensor 'a' (Q4_0, shape (33,))"),
    "overlap": (header(2, 0, info() + info(b"b", offset=4) + b"x" * 99), "tensor 'b'"),
    "a name twice": (header(2, 0, info() + info(offset=8) + b"x" * 99), "two tensors have one name"),
    "unknown kind": (header(1, 0, info(kind=4000) + b"x" * 99), "tensor 'a' is of type 4000, which cannot"),
    "not dequantised": (header(1, 0, info(shape=(256,), kind=15) + b"x" * 999), "tensor 'a' is of type Q8_K"),
}


@pytest.mark.parametrize("content,words", BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line(content, words, tmp_path):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(UserError) as error:
        gguf_file.read(tmp_path / "x.gguf")
    assert words in str(error.value) and "\n" not in str(error.value) and "x.gguf" in str(error.value)


FUZZ = """
import random, resource, struct, sys
from pathlib import Path
from lmlab.interop import gguf
from lmlab.utils.errors import UserError

path, whole, rng, refused = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), random.Random(0), 0
gguf.load(path)  # what a whole one takes
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lies = (0, 1, 2 ** 16, 2 ** 31, 2 ** 32 - 1, 2 ** 40, 2 ** 61, 2 ** 63, 2 ** 64 - 1)
for turn in range(500):
    data = bytearray(whole)
    if turn % 3 == 0:
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(6000)] ^= 1 << rng.randrange(8)
    elif turn % 3 == 1:
        data = data[:rng.randrange(len(whole))]
    else:
        at = rng.choice((4, 8, 16, rng.randrange(6000)))
        data[at:at + 8] = struct.pack("<Q", rng.choice(lies))
    path.write_bytes(data)
    try:
        gguf.load(path)  # a flipped bit of a token or a weight, say
    except UserError as error:
        refused += 1
        assert "\\n" not in str(error), error
print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_fuzzed_files_end_in_a_user_error_and_little_memory(tiny, tmp_path):
    (tmp_path / "x.gguf").write_bytes(tiny.read_bytes())
    done = subprocess.run([sys.executable, "-c", FUZZ, str(tmp_path / "x.gguf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, kilobytes = map(int, done.stdout.split())
    assert refused > 250 and kilobytes < 100_000


def test_a_sentencepiece_tokenizer_gives_sentencepieces_ids(tmp_path):
    """LLaMA 2's kind, made from a model trained here: the oracle is sentencepiece itself."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    made = io.BytesIO()
    words = ["the cat sat on the mat", "naïve café", "a capital of France is Paris", "春眠不觉晓", "12 345 6789"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 20), model_writer=made, model_type="bpe", vocab_size=340, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98, minloglevel=2)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(made.getvalue())
    writer = official.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.piece for piece in model.pieces])
    writer.add_token_scores([piece.score for piece in model.pieces])
    writer.add_token_types([piece.type for piece in model.pieces])
    writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_unk_token_id(0)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    tokenizer = gguf_tokenizer.build("x.gguf", gguf_file.read(tmp_path / "x.gguf").meta)
    oracle = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    for text in [*words, "the 晓 café is 99", "  two  spaces ", "new\nline\tand 🙂"]:
        assert tokenizer.encode(text) == oracle.encode(text), text
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.specials["bos"] == 1 and tokenizer.eod == 2


@pytest.mark.parametrize("change,words", [
    ({"model": "bert"}, "tokenizer.ggml.model='bert' is not supported; one of gpt2, llama"),
    ({"model": [1, 2]}, r"tokenizer.ggml.model='\[1, 2\]' is not supported"),
    ({"pre": None}, "tokenizer.ggml.pre='None' is not supported"),
    ({"pre": "new-model"}, "tokenizer.ggml.pre='new-model' is not supported"),
    ({"tokens": None}, "do not fit together"), ({"merges": ["h zz"]}, "do not fit together"),
    ({"merges": ["h"]}, "do not fit together"), ({"eos_token_id": 999}, "do not fit together"),
    ({"token_type": np.ones(3)}, "do not fit together"), ({"tokens": [1, 2]}, "do not fit together"),
])
def test_a_tokenizer_that_does_not_fit_together_is_one_line(change, words, tiny):
    meta = {**gguf_file.read(tiny).meta, **{f"tokenizer.ggml.{key}": value for key, value in change.items()}}
    with pytest.raises(UserError, match=words) as error:
        gguf_tokenizer.build("x.gguf", meta)
    assert "\n" not in str(error.value) and "x.gguf" in str(error.value)
