#!/bin/sh
# Installs what this Debian machine lacks:   tools/debian.sh python|tests|bench   (PYTHON names the interpreter)
#   python   what a virtual environment and the C core need
#   tests    the programs that tests drive: Chromium, nginx, HAProxy, microsocks, Redis
#   bench    what the benchmark's load and its peers on Node need
# Without root, or without apt-get, it says what is missing and leaves it at that.
set -eu
PYTHON=${PYTHON:-python3}
PATH=$PATH:/usr/sbin
missing=

need() { # need PACKAGE COMMAND ...: the package is missing where the command fails
    package=$1; shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_header() {
    "$PYTHON" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
}

case ${1:-} in
python)
    need python3-venv "$PYTHON" -c 'import ensurepip, venv'
    need python3-dev has_header
    need gcc command -v cc
    need zlib1g-dev cc -E -include zlib.h -x c /dev/null
    ;;
tests)
    need chromium command -v chromium
    need nginx command -v nginx
    need haproxy command -v haproxy
    need microsocks command -v microsocks
    need redis-server command -v redis-server
    need npm command -v npm
    ;;
bench)
    need libssl-dev cc -E -include openssl/ssl.h -x c /dev/null
    need openssl command -v openssl
    need npm command -v npm
    ;;
*)
    echo "usage: tools/debian.sh python|tests|bench" >&2
    exit 2
    ;;
esac

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing, please install:$missing" >&2
    exit 0
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # install services, do not start them
apt-get update -qq
# shellcheck disable=SC2086  # the packages are words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
