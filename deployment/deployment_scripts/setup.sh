#!/usr/bin/env bash
# What the system must bring: Python with venv, Java, and (for tests) the oracle tools.
# Installs what is missing through apt-get where it may; else says what to install.
#
#   setup.sh venv FOLDER    a virtual environment
#   setup.sh pip FOLDER …   packages into it: what `pip install …` does, by uv where that does the same
#   setup.sh java           Java 17 or 21
#   setup.sh oracles        bcftools, plink2, samtools, tabix, chromium, fastqc: else tests skip
set -euo pipefail  # so no `| grep -q`: it ends early, and the pipe with it

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# The prefix that makes a command run as root; fails where there is none, or no apt-get.
as_root() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    else
        return 1
    fi
}

updated=
apt_install() {
    local package
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "$updated" ]; then
        as_root apt-get update -qq >/dev/null || return 1
        updated=yes
    fi
    for package; do # a release that lacks it: say nothing, the caller has another
        apt-cache policy "$package" | grep 'Candidate: [0-9]' >/dev/null || return 1
    done
    say "installing $*"
    as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

fit_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.12 python3.11 python3.13}; do
        if command -v "$name" >/dev/null && fit_python "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

make_venv() {
    local python version
    python=$(find_python) || { apt_install python3 python3-venv && python=$(find_python); } ||
        die "Python 3.11 or newer is needed: install it, or call make with PYTHON=/path/to/it"
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install python3-venv || apt_install "python$version-venv" || true
        "$python" -c 'import ensurepip' 2>/dev/null || apt_install "python$version-venv" ||
            die "$python lacks venv: apt-get install python$version-venv"
    fi
    "$python" -m venv "$1"
}

# uv takes a quarter of pip's time, half a minute for two. It knows nothing of pip's configuration: of
# that it is told the index, and where anything else is configured pip does it.
by_uv() {
    local folder=$1 told
    shift
    [ -x "$folder/bin/uv" ] || return 1
    told=$("$folder/bin/pip" config list 2>/dev/null) || return 1
    told=$(sed -E 's/^[^=]*\.([a-z-]+)=/\1=/' <<<"$told")
    if grep -vE '^(index-url|cert|default-timeout|timeout|disable-pip-version-check|find-links)=|^$' \
        <<<"$told" >/dev/null; then
        return 1
    fi
    told=$(sed -nE "s/^index-url='(.*)'\$/\1/p" <<<"$told" | tail -n 1)
    UV_DEFAULT_INDEX=${told:-${UV_DEFAULT_INDEX:-}} "$folder/bin/uv" pip install -q \
        --python "$folder/bin/python" "$@"
}

pip_install() {
    local folder=$1
    shift
    by_uv "$folder" "$@" || "$folder/bin/pip" --disable-pip-version-check -q install "$@"
}

# Home folders of Java: the same places as geneai_spark/runtime.py looks into.
fit_java() {
    local java
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" \
        /usr/lib/jvm/*/bin/java /opt/homebrew/opt/openjdk*/bin/java; do
        [ -x "$java" ] || continue
        "$java" -version 2>&1 | grep -E 'version "(17|21)[."]' >/dev/null && return
    done
    return 1
}

ensure_java() {
    fit_java && return
    say "no Java 17 or 21 found"
    apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless || true
    fit_java || die "install Java 17 or 21 (Debian, Ubuntu: apt-get install" \
        "openjdk-17-jre-headless, or openjdk-21-jre-headless; macOS: brew install openjdk@17)" \
        "or point JAVA_HOME to it"
}

ensure_oracles() {
    local tool
    for tool in bcftools plink2 samtools tabix chromium fastqc; do
        command -v "$tool" >/dev/null && continue
        apt_install "$tool" || say "no $tool, and it cannot be installed: its tests are skipped"
    done
}

case "${1:-}" in
    venv) make_venv "${2:?folder}" ;;
    pip) shift; pip_install "$@" ;;
    java) ensure_java ;;
    oracles) ensure_oracles ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
