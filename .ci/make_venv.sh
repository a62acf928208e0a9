#!/bin/sh
# Make the virtual environment $1 with $PYTHON (default python3); on Debian, fetch what venv needs.
set -eu
venv=$1
python=${PYTHON:-python3}

fail() {
    echo "$1" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "$python is not installed: Python 3.11 or newer is needed (name it with PYTHON=...)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: Python 3.11 or newer is needed (name it with PYTHON=...)."

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq python3-venv
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make a virtual environment: install its venv module first (on Debian: apt-get install python3-venv)."
fi

# An environment whose making was interrupted is made anew; a whole one is kept.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
