#!/usr/bin/env bash
# Installs what the tests run for real and pip cannot bring: a browser, the servers, an emulator. Costs nothing when all is there.
set -euo pipefail

packages=(
    chromium    # the web runtime, the storefront, the console and the report
    postgresql  # the server's database for many workers
    redis-server
    prometheus  # scrapes the server's metrics and runs the dashboard's queries
    nginx-light # the proxy of deploy/nginx.conf
    qemu-user   # the conformance suite on arm64
)

missing=()
for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "the tests need these programs; install them, then run this again: ${missing[*]}" >&2
    exit 1
fi
as_root=()
[[ $(id -u) -eq 0 ]] || as_root=(sudo -n)
if ! "${as_root[@]}" true 2>/dev/null; then
    echo "the tests need these programs; type: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing the Debian packages ${missing[*]} ..." >&2
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
