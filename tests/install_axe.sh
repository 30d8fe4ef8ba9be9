#!/bin/sh
# Fetches axe-core, which tests/test_accessibility.py runs in the browser, from the npm registry, and checks its hash.
set -eu
target=$1
version=4.14.1
sha512=FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
test ! -f "$target" || exit 0
archive=$(mktemp)
trap 'rm -f "$archive" "$target.tmp"' EXIT
"$(dirname "$target")/bin/python" -c 'import sys, requests; answer = requests.get(sys.argv[1], timeout=60); answer.raise_for_status(); open(sys.argv[2], "wb").write(answer.content)' \
	"https://registry.npmjs.org/axe-core/-/axe-core-$version.tgz" "$archive"
test "$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)" = "$sha512" ||
	{ echo "axe-core $version from registry.npmjs.org is not the file that was expected" >&2; exit 1; }
tar -xzOf "$archive" package/axe.min.js >"$target.tmp"
mv "$target.tmp" "$target"
