#!/bin/sh
# Builds a virtual environment from requirements.lock: sh deploy/install.sh DIRECTORY
# PYTHON selects the interpreter, 3.11 or newer.
set -eu
cd "$(dirname "$0")/.."
venv=$1

new_enough() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=
for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Kroma needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2
    exit 1
fi

find_uv() {
    if command -v uv >/dev/null 2>&1; then
        command -v uv
    elif "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1; then
        echo "$venv/bin/uv"
    fi
}

with_uv() {
    # Compile now, so that the first start need not compile a thousand modules (pip always compiles).
    VIRTUAL_ENV=$venv "$1" pip install --quiet --compile-bytecode --require-hashes -r requirements.lock &&
        VIRTUAL_ENV=$venv "$1" pip install --quiet --no-deps --no-build-isolation --editable .
}

with_pip() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

echo "Installing into $venv with $("$python" --version)"
if ! new_enough "$venv/bin/python"; then
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --seed --python "$(command -v "$python")" "$venv" || "$python" -m venv --clear "$venv"
    elif ! "$python" -m venv --clear "$venv"; then
        echo "Python's venv module does not work here; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi
# An absolute path, because uv may run in another folder.
venv=$(cd "$venv" && pwd)
uv=$(find_uv)
if [ -z "$uv" ] || ! with_uv "$uv"; then
    echo "uv is not available; using pip, which takes a minute"
    with_pip
fi
"$venv/bin/python" -m compileall -q shared services
