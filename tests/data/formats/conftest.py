"""Files of examples, written and read back."""

import gzip
import json

import pytest

from lmlab.data import formats, readers
from lmlab.utils.errors import UserError


@pytest.fixture
def read(tmp_path):
    """A function: the examples of a file of that kind, name and content (text, bytes, a JSON value for .json, a list of
    them for .jsonl)."""
    def examples(kind, name, content, field="text", skip=readers.refuse):
        bare = name.removesuffix(".gz")
        if bare.endswith(".jsonl") and isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        elif bare.endswith(".json") and not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        (path,) = readers.find(str(tmp_path / name), (".json",))
        return [json.loads(document) for document in formats.documents(kind, path, field, skip)]
    return examples


@pytest.fixture
def refusal(read, tmp_path):
    """A function: the line that refuses a file, less the folder; checked to be one line that says what would do."""
    def line(*args, **kwargs):
        with pytest.raises(UserError) as error:
            read(*args, **kwargs)
        said = str(error.value)
        assert "\n" not in said and len(said) < 600 and ("; " in said or "config.data" in said), said
        return said.replace(f"{tmp_path}/", "")
    return line
