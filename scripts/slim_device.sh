#!/usr/bin/env bash
# Makes the smallest environment in which a device opens bundles, updates itself and sends feedback, and prints its size.
#   scripts/slim_device.sh FOLDER      PYTHON=/path/to/python3 chooses the Python
# Left out are packages that are declared but never imported (the hub client of the tokenizer, LiteRT's converters) and
# files that nothing here loads: LiteRT's other API, accelerator for WebGPU and compiler plugins, NumPy's tests, a second zstandard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$1
python=${PYTHON:-python3}
packages=(ai-edge-litert cffi cryptography msgspec numpy pycparser securesystemslib tokenizers tuf urllib3 zstandard)

"$python" -m venv --clear "$folder"
awk -v names=" ${packages[*]} " '
    /^[a-zA-Z0-9]/ { split($1, parts, "=="); keep = index(names, " " parts[1] " ") }
    keep && !/^ *#/ { print }
' requirements/device.lock >"$folder/slim.txt"
"$folder/bin/python" -m pip --disable-pip-version-check install -q --no-deps --require-hashes -r "$folder/slim.txt" >&2

site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')
rm -rf "$site"/ai_edge_litert/{libLiteRt.so,libLiteRtWebGpuAccelerator.so,tools,vendors,schema_py_generated.py,__pycache__/schema_py_generated.*}
find "$site"/numpy -type d -name tests -prune -exec rm -rf {} +
find "$site" \( -name "*.pyi" -o -path "*/include/*" \) -delete
rm -rf "$site"/numpy/{f2py,distutils,_pyinstaller} "$site"/zstandard/_cffi.*.so
"$folder/bin/python" -m pip --disable-pip-version-check uninstall -q -y setuptools >&2 || true

# What is left must do everything: answer, check signatures, make deltas, speak to a server.
"$folder/bin/python" -m pocketrec prove tests/data/golden_bundle >&2
"$folder/bin/python" -c 'import edge_runtime.node, edge_runtime.updates.updater, edge_runtime.feedback.event_queue, zstandard, tuf.ngclient' >&2
rm -rf "$site"/pip "$site"/pip-*
du -sm --apparent-size "$site" | cut -f1 | sed 's/$/ MB in '"$(basename "$folder")"'/'
