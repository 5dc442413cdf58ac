#!/usr/bin/env bash
# Builds one libFuzzer harness: build-fuzz.sh BUILDDIR src/x/y_fuzz.c -> BUILDDIR/fuzz/y
set -eu
cd "$(dirname "$0")/.."
lib=$1-fuzz
[ -f "$lib/build.ninja" ] || CC="${CC:-clang-19}" meson setup "$lib" -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 -Dfuzz=true >/dev/null
ninja -C "$lib" --quiet libnacre_all.a
mkdir -p "$1/fuzz"
clang-19 -std=gnu23 -D_GNU_SOURCE -O1 -g -Isrc -fsanitize=fuzzer,address,undefined "$2" \
    "$lib/libnacre_all.a" -ljson-c -pthread -o "$1/fuzz/$(basename "$2" _fuzz.c)"
