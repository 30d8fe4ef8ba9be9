#!/bin/sh
# Make sure that a Chromium and its driver are there: install Debian's packages if they are missing and we may.
set -eu

if [ "$(uname)" = Darwin ]; then
    exit 0 # Selenium finds Chrome in its usual place, and fetches what is missing
fi
for browser in chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null && command -v chromedriver >/dev/null; then
        exit 0
    fi
done

sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo="sudo -n"
fi
if command -v apt-get >/dev/null; then
    echo "installing Chromium and its driver"
    if $sudo apt-get update -qq && $sudo apt-get install -y -qq chromium chromium-driver >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "Chromium and chromedriver are missing: install them (Debian: apt install chromium chromium-driver)" >&2
exit 1
