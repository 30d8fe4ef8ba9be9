#!/bin/sh
# Make sure that node and npm are there: install Debian's packages if they are missing and we may.
set -eu

if command -v node >/dev/null && command -v npm >/dev/null; then
    exit 0
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo="sudo -n"
fi
if command -v apt-get >/dev/null; then
    echo "installing node and npm"
    if $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "node and npm are missing: install them (Debian: apt install nodejs npm)" >&2
exit 1
