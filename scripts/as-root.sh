#!/usr/bin/env bash
# Runs a command as root: directly, or through sudo.
set -euo pipefail
if [ "$(id -u)" -eq 0 ]; then
    exec "$@"
elif command -v sudo >/dev/null; then
    exec sudo -E env "PATH=$PATH" "$@"
fi
echo "$*: needs root, and there is no sudo" >&2
exit 1
