#!/usr/bin/env bash
# The door to lmlab: makes .venv from requirements.lock where needed, then runs a verb in it (see `./run.sh help`).
set -euo pipefail

abspath() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }
if [ -n "${LMLAB_VENV:-}" ]; then VENV=$(abspath "$LMLAB_VENV"); fi
case ${PYTHON:-} in */*) PYTHON=$(abspath "$PYTHON") ;; esac
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")"
VENV=${VENV:-$PWD/.venv}
OURS=$VENV/.lmlab          # written first: this folder is ours to rebuild
STAMP=$VENV/.lmlab-ready   # written last: what is installed, and from what
LOCK=requirements.lock
TORCH="torch==2.13.0 peft==0.21.2"  # oracles of `test --all`, Python 3.11 only, never in the lock

say() { printf 'run.sh: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# --- verbs ---

verbs() { local f; for f in experiments/[a-z]*.py; do if [ -e "$f" ]; then basename "$f" .py; fi; done; }

usage() {
  cat <<'END'
usage: ./run.sh [VERB] [flags]

  ./run.sh                      train the quickstart in runs/quickstart; once that is trained, sample from it
  ./run.sh test [--all] [...]   run the tests (--all: slow ones too, and the parity oracles); the rest goes to pytest
  ./run.sh faults [--full]      kill, corrupt, fill the disk, poison: and print what was survived (--full: 90 minutes)
  ./run.sh setup                make or mend .venv, and no more
  ./run.sh lock [--upgrade]     make requirements.lock anew from setup.py (needs uv)
  ./run.sh audit                ask for known weaknesses of the pins (pip-audit, in an environment of its own)
  ./run.sh help                 this text
END
  local verb
  for verb in $(verbs); do
    awk -v verb="$verb" '/^r?"""/ { sub(/^r?"""/, ""); sub(/""".*/, ""); text = $0; exit }
                         END { printf "  ./run.sh %-20s %s\n", verb, text }' "experiments/$verb.py"
  done
  cat <<'END'

environment:
  PYTHON=...       the Python (3.11, 3.12 or 3.13) to build on      LMLAB_VENV=...   a place other than .venv
  LMLAB_EXTRA=...  cuda or tpu: install jax for that as well; plan: what `plan` compiles for TPUs with
END
}

# Prints the known verb nearest to $1 (edit distance at most 2), if there is one.
nearest() {
  { verbs; printf '%s\n' test faults setup lock audit help; } | awk -v word="$1" '
    function min(a, b) { return a < b ? a : b }
    function distance(a, b,    i, j, d) {
      for (i = 0; i <= length(a); i++) d[i, 0] = i
      for (j = 0; j <= length(b); j++) d[0, j] = j
      for (i = 1; i <= length(a); i++) for (j = 1; j <= length(b); j++)
        d[i, j] = min(min(d[i-1, j], d[i, j-1]) + 1, d[i-1, j-1] + (substr(a, i, 1) != substr(b, j, 1)))
      return d[length(a), length(b)]
    }
    BEGIN { best = 3 }
    { n = distance(word, $1); if (n < best) { best = n; name = $1 } }
    END { if (name) printf "%s", name }'
}

unknown() {
  local like; like=$(nearest "$1")
  printf 'error: no verb %s%s; the verbs are: %s\n' "'$1'" "${like:+ (did you mean '$like'?)}" \
    "$(echo $(verbs) test faults setup lock audit help)" >&2
  exit 2
}

# --- environment ---

# Prints "3.12.1 /base/prefix" if $1 starts, is a version that the lock covers, and can make environments.
probe() {
  "$1" -I -c 'import sys, venv, ensurepip
v = sys.version_info
print("%d.%d.%d %s" % (v[0], v[1], v[2], sys.base_prefix))
sys.exit(not ((3, 11) <= v[:2] <= (3, 13) and sys.implementation.name == "cpython"))' 2>/dev/null
}

# Sets PY to a Python that works and PY_IS to what probe says of it. Being in PATH is not enough: version managers put
# launchers there that fail, and distributions Pythons that cannot make an environment.
find_python() {
  local name path
  if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python; fi
  for name in "$@"; do
    while IFS= read -r path; do
      case $path in "" | "$VENV"/*) continue ;; esac
      if PY_IS=$(probe "$path"); then PY=$path; return; fi
    done <<< "$(type -ap -- "$name" 2> /dev/null || true)"
  done
  local wanted="CPython 3.11, 3.12 or 3.13 that starts and has venv and ensurepip"
  if [ -n "${PYTHON:-}" ]; then die "PYTHON=$PYTHON is no $wanted."; fi
  die "found no $wanted (tried: $*);" \
    "install one (Debian: python3-venv too), or name it: PYTHON=/path/to/python3.12 ./run.sh"
}

checksum() { if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -c1-64; }

# The stamp has five lines: checksum of the lock, this folder, what probe said, PYTHON= as given, the sets installed.
read_stamp() {
  had_lock="" had_home="" had_python="" had_asked="" had_sets=""
  if [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ]; then
    {
      read -r had_lock; read -r had_home; read -r had_python; read -r had_asked; read -r had_sets
    } < "$STAMP" || had_lock=""
  fi
}

write_stamp() {
  printf '%s\n' "$lock_now" "$PWD" "$had_python" "${PYTHON:-}" "$had_sets" > "$STAMP.new"
  mv -f "$STAMP.new" "$STAMP"
}

# True if .venv holds every set named, from the lock as it is, on the Python asked for. Starts no Python.
ready() {
  local set
  if [ "$had_lock" != "$lock_now" ] || [ "$had_home" != "$PWD" ]; then return 1; fi
  if [ -n "${PYTHON:-}" ] && [ "$PYTHON" != "$had_asked" ]; then return 1; fi
  for set in "$@"; do case " $had_sets " in *" $set "*) ;; *) return 1 ;; esac; done
}

# One installation at a time. The kernel frees flock's lock when its holder dies; without flock a folder must do.
take_lock() {
  mkdir -p -- "$(dirname -- "$VENV")"
  if command -v flock > /dev/null; then
    exec 9> "$VENV.lock"
    flock -n 9 || { say "waiting for another run.sh that is installing"; flock 9; }
    return
  fi
  local holder told=""
  until mkdir "$VENV.lock.d" 2> /dev/null; do
    holder=$(cat "$VENV.lock.d/pid" 2> /dev/null || true)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2> /dev/null; then rm -rf "$VENV.lock.d"; continue; fi
    if [ -z "$told" ]; then say "waiting for another run.sh (if there is none, remove $VENV.lock.d)"; told=1; fi
    sleep 1
  done
  trap 'rm -rf "$VENV.lock.d"' EXIT
  echo $$ > "$VENV.lock.d/pid"
}

free_lock() { if command -v flock > /dev/null; then exec 9>&-; else rm -rf "$VENV.lock.d"; trap - EXIT; fi; }

make_venv() {
  find_python
  if [ -e "$VENV" ] && [ ! -e "$OURS" ] && [ -n "$(ls -A "$VENV")" ]; then
    die "$VENV was not made by run.sh; move it away, or set LMLAB_VENV to another place."
  fi
  if [ -e "$OURS" ]; then say "rebuilding $VENV"; rm -rf "$VENV"; fi
  say "making $VENV with Python ${PY_IS%% *} ($PY)"
  mkdir -p -- "$VENV"
  : > "$OURS"
  "$PY" -I -m venv "$VENV" || die "$PY could not make $VENV (message above)."
  had_python=$PY_IS had_sets=""
}

# pip, away from the user's own packages and PYTHONPATH.
pip() { PIP_USER=0 "$VENV/bin/python" -I -m pip --disable-pip-version-check --no-input "$@"; }

# One moving line on a terminal, a line now and then elsewhere.
progress() {
  local tty=0; if [ -t 2 ]; then tty=1; fi
  awk -v total="$1" -v tty="$tty" '
    function show(text) { printf(tty ? "\r\033[K  %s" : "  %s\n", text) > "/dev/stderr"; fflush("/dev/stderr") }
    /^(Collecting|Ignoring|Requirement already)/ {
      n++; name = $1 == "Requirement" ? $4 : $2; sub(/[=:;].*/, "", name)
      if (tty || n % 25 == 0) show(sprintf("[%d/%d] %s", n, total, name))
    }
    /^Installing collected/ { show("unpacking and compiling") }
    END { if (tty) printf "\r\033[K" > "/dev/stderr" }'
}

explain_failure() {
  local log=$VENV/install.log
  if grep -qE 'NewConnectionError|NameResolution|Temporary failure|after connection broken|timed out' "$log"; then
    die "the first start downloads packages and the network did not answer; try again with a connection (log: $log)."
  fi
  grep -E '^ERROR' "$log" | tail -n 4 >&2 || true
  die "installing failed; the log is $log. Run the same command again to mend it."
}

# Installs the named sections of the lock, every file checked against its hash.
install_locked() {
  local part=$VENV/install.txt
  awk -v want=" $* " '/^# --- / { on = index(want, " " $3 " ") } on' "$LOCK" > "$part"
  # The lock is complete, so pip need resolve nothing; the build tool it holds is there before the one source package.
  pip install --no-deps --no-build-isolation --require-hashes -r "$part" 2>&1 | tee -a "$VENV/install.log" |
    progress "$(grep -c '^[a-z0-9].*==' "$part")" || explain_failure
}

install_extra() {
  local jax what
  jax=$("$VENV/bin/python" -I -c 'from importlib.metadata import version; print(version("jax"))')
  case $1 in cuda) what="jax[cuda12]==$jax" ;; tpu) what="jax[tpu]==$jax" ;; plan) what="libtpu>=0.0.51" ;; esac
  say "installing $what (outside the lock, without hashes)"
  pip install "$what" 2>&1 | tee -a "$VENV/install.log" | progress '?' || explain_failure
}

# These are only oracles: where they cannot be had, the tests that compare with them are skipped.
try_torch() {
  case $had_python in 3.11.*) ;; *) return 0 ;; esac
  say "installing $TORCH, oracles of the tests"
  if pip install --retries 1 $TORCH > "$VENV/install-torch.log" 2>&1; then return 0; fi
  say "no $TORCH here: the tests that compare with them are skipped"
  return 1
}

# Installs what `ready` found missing, under the lock; the stamp is away meanwhile, so a killed install is rebuilt.
install() {
  local set missing=""
  read_stamp
  if [ -n "${PYTHON:-}" ] && [ -n "$had_lock" ] && [ "$PYTHON" != "$had_asked" ]; then
    find_python
    if [ "$PY_IS" != "$had_python" ]; then had_lock=""; fi
  fi
  if [ -z "$had_lock" ]; then make_venv; fi
  if [ "$had_lock" != "$lock_now" ]; then missing=$had_sets had_sets=""; fi
  for set in "$@"; do case " $missing $had_sets " in *" $set "*) ;; *) missing="$missing $set" ;; esac; done
  if [ -n "${missing// /}" ]; then
    rm -f "$STAMP"
    : > "$VENV/install.log"
    local locked=""
    for set in $missing; do case $set in core | dev | parity) locked="$locked $set" ;; esac; done
    if [ -n "$locked" ]; then
      say "installing the pinned packages ($(echo $locked | tr ' ' ',')), a few hundred MB the first time"
      install_locked build
      install_locked $locked
    fi
    for set in $missing; do
      case $set in
        cuda | tpu | plan) install_extra "$set" ;;
        torch) try_torch || continue ;;
      esac
      had_sets="$had_sets $set"
    done
  fi
  local site=("$VENV"/lib/python3*/site-packages)
  printf '%s\n' "$PWD" > "${site[0]}/lmlab.pth"   # `import lmlab` works from any folder, with no build step
  write_stamp
}

# Brings .venv to hold the sets named in "$@".
setup() {
  local started=$SECONDS
  if [ -n "${LMLAB_EXTRA:-}" ]; then
    case $LMLAB_EXTRA in cuda | tpu | plan) ;; *) die "LMLAB_EXTRA=$LMLAB_EXTRA: it can be cuda, tpu or plan." ;; esac
    set -- "$@" "$LMLAB_EXTRA"
  fi
  lock_now=$(checksum "$LOCK")
  read_stamp
  if ready "$@"; then return; fi
  trap 'printf "\n" >&2; say "stopped; the next call mends .venv"; exit 130' INT
  take_lock
  install "$@"
  free_lock
  trap - INT
  say "environment ready after $((SECONDS - started)) s"
}


# --- the lock ---

# Writes the lock in sections (build, core, dev, parity), each holding what the ones before it lack; a package stands in
# the first section that needs it, with the markers and hashes of the whole.
make_lock() {
  local uv=${UV:-uv} set
  command -v "$uv" > /dev/null || die "'lock' needs uv (pip install uv), or UV=/path/to/uv."
  case $uv in */*) uv=$(abspath "$uv") ;; esac
  TMP=$(mktemp -d)
  trap 'rm -rf "$TMP"' EXIT
  cp setup.py "$TMP"   # built there for its metadata, so that nothing is left here
  if [ -f "$LOCK" ]; then cp "$LOCK" "$TMP/all"; fi   # uv keeps the pins it finds there, unless --upgrade
  compile() (
    cd "$TMP"
    "$uv" pip compile setup.py --universal --python-version 3.11 --quiet --no-header --no-emit-index-url "$@"
  )
  names() { awk -F '[= ]' '/^[a-z0-9]/ { print $1 }'; }
  compile --extra build --extra dev --extra parity --generate-hashes --output-file "$TMP/all" "$@" > /dev/null
  sed -n 's/ \\$//; /^[a-z0-9]/p' "$TMP/all" > "$TMP/pins"
  echo setuptools > "$TMP/build"
  compile --constraints "$TMP/pins" | names > "$TMP/core"
  compile --constraints "$TMP/pins" --extra dev | names > "$TMP/dev"
  names < "$TMP/all" > "$TMP/parity"
  {
    echo '# Exact pins with hashes for Python 3.11, 3.12 and 3.13, made from setup.py by `./run.sh lock`: do not edit.'
    echo '# run.sh installs the sections it needs; the whole file is a requirements file of pip --require-hashes.'
    for set in build core dev parity; do
      printf '\n# --- %s ---\n' "$set"
      awk 'FILENAME == ARGV[1] { want[$1]; next }
           /^[a-z0-9]/ { split($0, word, /[= ]/); on = (word[1] in want) } on' "$TMP/$set" "$TMP/all"
      names < "$TMP/all" | grep -vxFf "$TMP/$set" > "$TMP/left" || true
      awk 'FILENAME == ARGV[1] { left[$1]; next }
           /^[a-z0-9]/ { split($0, word, /[= ]/); on = (word[1] in left) } on' "$TMP/left" "$TMP/all" > "$TMP/rest"
      mv "$TMP/rest" "$TMP/all"
    done
  } > "$TMP/lock"
  mv "$TMP/lock" "$LOCK"
  say "wrote $LOCK: $(grep -c '^[a-z0-9]' "$LOCK") pins"
}

# pip-audit is no part of our environment. --strict: a pin that nothing is known of is a failure, not a pass.
audit() {
  TMP=$(mktemp -d)
  trap 'rm -rf "$TMP"' EXIT
  find_python
  "$PY" -I -m venv "$TMP/venv"
  "$TMP/venv/bin/python" -I -m pip install --quiet pip-audit
  "$TMP/venv/bin/pip-audit" --strict --disable-pip --require-hashes -r "$LOCK" "$@"
}

# --- running ---

# Large arrays in huge pages, where the C library and the kernel have them; and in a process that trains, those below a
# gigabyte kept from one step to the next. It must be known before a process starts (docs/performance.md).
python_m() {
  local malloc=glibc.malloc.hugetlb=1
  case $1 in
    experiments.train | experiments.bench)
      malloc=$malloc:glibc.malloc.mmap_threshold=1000000000:glibc.malloc.trim_threshold=2000000000
      malloc=$malloc:glibc.malloc.arena_max=1
      ;;
  esac
  unset PYTHONHOME
  export GLIBC_TUNABLES=${GLIBC_TUNABLES-$malloc}
  exec "$VENV/bin/python" -m "$@"
}

quickstart() {
  setup core dev
  if grep -Eqs '"finished"[[:space:]]*:[[:space:]]*true' runs/quickstart/summary.json; then
    python_m experiments.generate --run=runs/quickstart
  fi
  python_m experiments.train --config=configs/gpt.py:quickstart --workdir=runs/quickstart
}

run_tests() {
  local arg all="" where=tests args=()
  for arg in "$@"; do
    if [ "$arg" = --all ]; then all=1; continue; fi
    if [ -e "${arg%%::*}" ]; then where=""; fi   # the caller names what to run
    args+=("$arg")
  done
  if [ -n "$where" ]; then args=(-n logical --maxprocesses 4 --dist worksteal "${args[@]}" "$where"); fi
  if [ -n "$all" ]; then
    setup core dev parity torch
    python_m pytest "${args[@]}"
  fi
  setup core dev
  python_m pytest -m "not slow" "${args[@]}"
}

main() {
  if [ $# -eq 0 ]; then quickstart; fi
  local verb=$1; shift
  case $verb in
    help | -h | --help) usage ;;
    setup) setup core dev ;;
    lock) make_lock "$@" ;;
    audit) audit "$@" ;;
    test) run_tests "$@" ;;
    faults)
      setup core dev
      case " $* " in *" tests/"*) python_m pytest "$@" ;; *) python_m pytest tests/faults "$@" ;; esac
      ;;
    -*)
      printf 'error: flags come after a verb: ./run.sh train %s ... (./run.sh help lists the verbs)\n' "$verb" >&2
      exit 2
      ;;
    *)
      case $verb in [!a-z]* | *[!a-z0-9_]*) unknown "$verb" ;; esac
      if [ ! -f "experiments/$verb.py" ]; then unknown "$verb"; fi
      setup core dev
      python_m "experiments.$verb" "$@"
      ;;
  esac
}

main "$@"
