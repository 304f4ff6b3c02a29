#!/usr/bin/env bash
# Runs a Python program on an emulated arm64 processor: Debian's arm64 Python and the device's arm64 wheels, unpacked into a
# folder, started by QEMU. Nothing is installed on this system; what is there already costs nothing.
#   scripts/arm64.sh FOLDER ARGUMENT...      the arguments are those of python
# Exit code 4 when this system has no apt-get or no QEMU to do it with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(realpath -m "$1")
shift

say() { echo "arm64: $*" >&2; }

if ! command -v apt-get >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    say "needs apt-get and qemu-aarch64 (Debian's package qemu-user)"
    exit 4
fi

# What `edge_runtime` imports to open a bundle and answer, and what runs its tests.
wheels=(ai-edge-litert msgspec numpy tokenizers iniconfig packaging pluggy pygments pytest pytest-timeout)

pinned() { # the part of a lock file that names these packages, with their hashes
    awk -v names=" ${wheels[*]} " '
        /^[a-zA-Z0-9]/ { split($1, parts, "=="); keep = index(names, " " parts[1] " ") }
        keep && !/^ *#/ { print }
    ' requirements/device.lock requirements/dev.lock | awk '
        # Both locks pin some packages: keep the first of equal lines, whole entries at a time.
        /^[a-zA-Z0-9]/ { skip = seen[$0]++ }
        !skip { print }
    '
}

apt_options() { # an apt of its own: other lists, other cache, nothing installed, another architecture
    local state=$folder/apt
    mkdir -p "$state"/{lists/partial,cache/archives/partial,state}
    : >"$state/status"
    printf '%s\n' -o Dir::State="$state/state" -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
        -o Dir::State::status="$state/status" -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=1 -qq
}

unpack_python() {
    local options package
    mapfile -t options < <(apt_options)
    say "fetching Debian's Python for arm64 ..."
    apt-get "${options[@]}" update
    apt-get "${options[@]}" -y --no-install-recommends --download-only install python3 libstdc++6
    for package in "$folder"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$folder/debian.new"; done
}

unpack_wheels() { # version of the arm64 Python
    local wheel
    say "fetching the device's wheels for arm64 and Python $1 ..."
    pinned >"$folder/wheels.txt"
    .venv-device/bin/python -m pip --disable-pip-version-check download -q --require-hashes --no-deps --only-binary=:all: \
        --implementation cp --python-version "$1" --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --dest "$folder/wheels" -r "$folder/wheels.txt" >&2
    for wheel in "$folder"/wheels/*.whl; do .venv-device/bin/python -m zipfile -e "$wheel" "$folder/site.new"; done
}

stamp=$folder/.made
digest=$({ cat scripts/arm64.sh; pinned; } | sha256sum | cut -d' ' -f1)
if [[ ! -f $stamp || $(cat "$stamp") != "$digest" ]]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    unpack_python
    python=$(find "$folder/debian.new/usr/bin" -name 'python3.[0-9]*' -type f | head -n 1)
    unpack_wheels "${python##*python}"
    # LiteRT looks the processor up in /proc/cpuinfo and crashes on the one of this machine; QEMU looks below its root first.
    mkdir -p "$folder/debian.new/proc"
    printf '%s\n' 'processor	: 0' 'Features	: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm asimddp' \
        'CPU implementer	: 0x41' 'CPU architecture: 8' 'CPU variant	: 0x4' 'CPU part	: 0xd0b' 'CPU revision	: 1' '' \
        >"$folder/debian.new/proc/cpuinfo"
    mv "$folder/debian.new" "$folder/debian"
    mv "$folder/site.new" "$folder/site"
    rm -rf "$folder/apt" "$folder/wheels"
    echo "$digest" >"$stamp"
fi

python=$(find "$folder/debian/usr/bin" -name 'python3.[0-9]*' -type f | head -n 1)
exec env -u LD_LIBRARY_PATH PYTHONHOME="$folder/debian/usr" PYTHONPATH="$folder/site:." PYTHONDONTWRITEBYTECODE=1 \
    QEMU_CPU=cortex-a76 qemu-aarch64 -L "$folder/debian" "$python" "$@"
