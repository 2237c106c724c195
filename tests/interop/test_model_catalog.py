"""The catalog of models: only the files named leave the archive, under our names, and damage in the cache is mended."""

import io
import zipfile

import pytest

from lmlab.interop import catalog
from lmlab.utils import archives
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A catalog of two entries over one small archive that holds more than is wanted, and would write elsewhere."""
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in {"t/m/config.json": "{}", "t/m/1_Pooling/config.json": "[]", "t/m/run.py": "print()",
                           "t/m/../../../outside": "zip slip", "t/m/x.gguf": "GGUF"}.items():
            file.writestr(name, data)
    archive = archives.Archive("tiny", "tiny-1.whl", sha256(content.getvalue()))
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(content.getvalue()))
    monkeypatch.setattr(catalog, "CATALOG", {
        "tiny": catalog.Entry(archive, "t/m/", ("config.json", "1_Pooling/config.json"), "none"),
        "file": catalog.Entry(archive, "t/m/", ("x.gguf",), "none")})


def files(folder):
    """{path: text} of a folder's files."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_only_the_named_files_are_taken_out(tiny, tmp_path):
    assert files(catalog.folder("tiny")) == {"config.json": "{}", "1_Pooling/config.json": "[]"}
    assert catalog.folder("file").name == "x.gguf" and catalog.folder("file").read_text() == "GGUF"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4  # these, and the archive


def test_what_is_damaged_in_the_cache_is_mended(tiny):
    folder = catalog.folder("tiny")
    (folder / "config.json").write_text("[]")
    (folder / "1_Pooling" / "config.json").unlink()
    (cache_dir() / "catalog" / "tiny-1.whl").write_bytes(b"")
    assert files(catalog.folder("tiny")) == {"config.json": "{}", "1_Pooling/config.json": "[]"}


def test_an_unknown_name_is_one_line():
    with pytest.raises(UserError, match="catalog:minilm: no such model.*there are: smollm2-135m-instruct"):
        catalog.folder("minilm")
