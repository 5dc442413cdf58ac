#!/bin/sh
# Writes what is generated in doc/: compatibility.md, and the tables of host calls in security.md.
#   tools/doc.sh NACRE           with --check as a second argument: only says whether they are up to date
set -eu
cd "$(dirname "$0")/.."
nacre=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$nacre" syscalls --format=md >"$tmp/compatibility.md"
"$nacre" hostcalls --format=md >"$tmp/tables"
sed -n '1,/^<!-- generated/p' doc/security.md >"$tmp/security.md"
cat "$tmp/tables" >>"$tmp/security.md"
sed -n '/^<!-- end/,$p' doc/security.md >>"$tmp/security.md"
st=0
for f in compatibility.md security.md; do
    if [ "${2:-}" = --check ]; then
        diff -q "$tmp/$f" "doc/$f" >/dev/null 2>&1 || { echo "doc/$f is out of date (make doc)"; st=1; }
    else
        cp "$tmp/$f" "doc/$f"
    fi
done
exit $st
