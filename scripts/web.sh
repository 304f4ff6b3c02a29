#!/usr/bin/env bash
# Runs npm scripts of web/ with a Node that suits: the machine's own from 20.19 on, else one from requirements/node.lock.
#   scripts/web.sh ready            the packages of web/package-lock.json; what is there already costs nothing
#   scripts/web.sh run SCRIPT ...   an npm script of web/package.json, which holds for all packages and apps
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

suits() { # is this command a Node that Vite runs on?
    "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}

if ! { command -v node && command -v npm; } >/dev/null || ! suits node; then
    scripts/environment.sh .venv-node 3.13 node
    PATH=$PWD/.venv-node/bin:$PATH
fi

ready() {
    local stamp=web/node_modules/.installed digest
    digest=$(sha256sum web/package-lock.json | cut -d' ' -f1)
    [[ -f $stamp && $(cat "$stamp") == "$digest" ]] && return
    echo "installing the packages of web/package-lock.json ..." >&2
    (cd web && npm ci --no-audit --no-fund --loglevel=error >&2)
    echo "$digest" >"$stamp"
}

case $1 in
    ready) ready ;;
    run)
        ready
        shift
        cd web
        for script in "$@"; do npm run --silent "$script"; done
        ;;
    *)
        echo "usage: scripts/web.sh ready | run SCRIPT ..." >&2
        exit 2
        ;;
esac
