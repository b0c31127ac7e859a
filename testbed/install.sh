#!/bin/sh
# Installs what the testbed needs and this machine lacks: the Debian packages of images/packages.txt, and .venv with
# the Python packages of requirements.lock (with --dev: requirements-dev.lock, which holds those too) and the project.
# With --uml also the packages of images/packages-uml.txt, for `make test-uml`.
#
# Nothing is done where .venv/.installed says that it was done. A run that was interrupted, by SIGKILL too, is made good
# by the next one. No service that comes with the packages is started or enabled; packages that were there before are
# not touched. Exit codes: 0 installed, 4 this machine cannot run it as it is, 1 an installation failed, 130 interrupted.
#
# TESTBED_PACKAGES=skip  the system packages are your own business (not Debian or Ubuntu, or an image made elsewhere)
# TESTBED_PYTHON=PATH    the Python that makes .venv, instead of /usr/bin/python3
set -eu

say() { printf '%s\n' "install: $*"; }
fail() {
    code=$1
    shift
    printf '%s\n' "install: $*" >&2
    exit "$code"
}

cd "$(dirname "$0")/.."
root=$(pwd -P)
stamp=.venv/.installed
state=/var/lib/mip6-testbed # what an installation of packages still has to settle; absent when nothing is left
policy=/usr/sbin/policy-rc.d
policy_mark='# Of testbed/install.sh (mip6-testbed), for as long as it installs packages. Left over? Run it again, or remove this.'
log=

extras=runtime
lists=images/packages.txt
for argument in "$@"; do
    case $argument in
        --dev) extras=dev ;;
        --uml) lists="$lists images/packages-uml.txt" ;;
        *) fail 2 "unknown argument $argument; usage: testbed/install.sh [--dev] [--uml]" ;;
    esac
done
# What was installed for development stays so: `make up` after `make test` is no reason to install again.
keep_extras() { if grep -qsx 'extras dev' "$stamp"; then extras=dev; fi; }

wanted() { # the text of the stamp; a checkout that was moved or a Python that was replaced needs a new .venv
    sha256sum images/packages.txt requirements.lock requirements-dev.lock pyproject.toml
    printf '%s\n' "extras $extras" "root $root" "python $(readlink -f .venv/bin/python)"
}

# shellcheck disable=SC2086
packages() { sed 's/[[:space:]]*#.*//; /^$/d' $lists; }

missing_packages() {
    [ "${TESTBED_PACKAGES:-}" != skip ] || return 0
    # dpkg-query says nothing of packages that it has never heard of: those are what the list has beyond its answer.
    # shellcheck disable=SC2046
    { dpkg-query -W -f '${db:Status-Status} ${Package}\n' $(packages) 2>/dev/null || true; packages; } |
        awk '$1 == "installed" { there[$2] } NF == 1 && !($1 in there)'
}

package_state() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true; }

disable_units() { # the services that came with packages, one name a line on standard input
    while read -r package; do
        dpkg-query -L "$package" 2>/dev/null || true
    done | sed -n 's,^\(/usr\)\?/lib/systemd/system/\([^/@]*\.\(service\|socket\)\)$,\2,p' | sort -u | while read -r unit; do
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
        say "$unit came with the packages and is disabled: labs run their own"
        systemctl --quiet disable --now "$unit" >/dev/null 2>&1 </dev/null || say "could not disable $unit" >&2
    done
}

settle() { # end an installation of packages, this run's or one that was cut off
    [ -d "$state" ] || return 0
    if [ -s "$state/new" ]; then
        [ ! -d /run/systemd/system ] || disable_units <"$state/new"
        # What is unpacked only gets its units enabled when it is configured: the next run's business.
        while read -r package; do
            case $(package_state "$package") in
                installed | config-files | not-installed | '') ;;
                *) printf '%s\n' "$package" ;;
            esac
        done <"$state/new" >"$state/half"
    fi
    if grep -qsxF "$policy_mark" "$policy"; then rm -f "$policy"; fi
    if [ -s "$state/half" ]; then mv "$state/half" "$state/new"; else rm -rf "$state"; fi
}

over() {
    code=$?
    trap - EXIT
    trap '' HUP INT TERM
    [ -z "${installing_packages:-}" ] || settle
    [ -z "$log" ] || rm -f "$log"
    exit "$code"
}
trap over EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Run a command with its output kept, and shown if it fails. It inherits the locks: where this script is killed and the
# command lives on, the next run waits for it.
quietly() {
    if "$@" >"$log" 2>&1 </dev/null; then return 0; fi
    tail -n 40 "$log" >&2
    return 1
}

apt() {
    quietly env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

install_packages() {
    # One installation at a time on this machine, whatever checkout it comes from: policy-rc.d is one file for all.
    exec 8</var/lib/dpkg
    flock 8
    installing_packages=yes
    settle
    mkdir -p "$state"
    if ! [ -e "$policy" ]; then
        printf '%s\n' '#!/bin/sh' "$policy_mark" 'exit 101' >"$state/policy"
        chmod 755 "$state/policy"
        mv "$state/policy" "$policy"
    fi
    # Finish what was cut off, ours or not. apt-get waits for another one that runs, dpkg does not: so it comes second.
    apt install 2>/dev/null || quietly dpkg --configure -a || fail 1 'dpkg was interrupted before and cannot finish: see above'
    # shellcheck disable=SC2046
    set -- $(missing_packages)
    [ $# = 0 ] || get_packages "$@"
    settle
    installing_packages=
    exec 8<&-
}

get_packages() { # NAME...
    say "installing Debian packages: $*"
    apt update || fail 1 'apt-get update failed: see above'
    apt install --no-install-recommends --simulate "$@" || fail 1 'the packages cannot be installed: see above'
    awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' "$log" >>"$state/new" # with [VERSION] it is an upgrade
    apt install --no-install-recommends "$@" || fail 1 'the packages could not be installed: see above'
}

need_packages() {
    if [ "${TESTBED_PACKAGES:-}" = skip ]; then return 0; fi
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        {
            say 'this is neither Debian nor Ubuntu: install what these packages hold, then say TESTBED_PACKAGES=skip:'
            # shellcheck disable=SC2086
            sed '/^#/d; s/^/  /' $lists
        } >&2
        exit 4
    fi
    # shellcheck disable=SC2046
    set -- $(missing_packages)
    if [ "$(id -u)" != 0 ]; then
        [ $# = 0 ] || fail 4 "these Debian packages are missing, and only root can install them: $*"
    elif [ $# != 0 ] || [ -d "$state" ]; then
        install_packages
    fi
}

need_python() {
    python=${TESTBED_PYTHON:-/usr/bin/python3}
    [ -x "$python" ] || fail 4 "$python is missing; TESTBED_PYTHON=PATH names another one, 3.11 or newer"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail 4 "$python is $("$python" -V), and 3.11 is the oldest that will do (Debian 12, Ubuntu 24.04)." \
            'TESTBED_PYTHON=PATH names another one'
}

pip() { quietly env PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 .venv/bin/python -I -m pip "$@"; }

install_python() {
    lock=requirements.lock
    [ "$extras" = runtime ] || lock=requirements-dev.lock
    # Without a stamp nobody knows how far the last run came, and with another root or Python .venv is of no use.
    if ! [ -f "$stamp" ] || [ "$(grep -E '^(root|python) ' "$stamp")" != "$(wanted | grep -E '^(root|python) ')" ]; then
        say "making .venv with $("$python" -V)"
        quietly "$python" -m venv --clear .venv || fail 1 'the virtual environment could not be made: see above'
    fi
    rm -f "$stamp"
    say "installing the Python packages of $lock"
    # Mininet comes as source only. What builds it is pinned like the rest, so it has to be there first.
    awk '/^[^ #]/ { build = /^setuptools==/ } build' "$lock" >.venv/build.lock
    pip install --require-hashes -r .venv/build.lock || fail 1 'setuptools could not be installed: see above'
    pip install --require-hashes --no-build-isolation --use-pep517 -r "$lock" ||
        fail 1 'the Python packages could not be installed: see above'
    pip install --no-deps --no-build-isolation --no-index -e . || fail 1 'the project itself could not be installed: see above'
    wanted >.venv/.installed.new
    mv .venv/.installed.new "$stamp"
}

keep_extras
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && ! [ -d "$state" ] && [ -z "$(missing_packages)" ]; then
    exit 0
fi
exec 9<. # one installation at a time in this checkout
if command -v flock >/dev/null; then flock 9; fi
keep_extras # another run may have come first
log=$(mktemp)
if [ -x /usr/bin/python3 ] || [ -n "${TESTBED_PYTHON:-}" ]; then need_python; fi
need_packages
need_python
if ! [ -f "$stamp" ] || [ "$(cat "$stamp")" != "$(wanted)" ]; then install_python; fi
say 'done'
