#!/bin/sh
# Lists source files by kind, so that adding a file touches no build file (meson.build).
set -eu
cd "$(dirname "$0")/.."
case "$1" in
all) find src -type f | LC_ALL=C sort ;;
product) find src -name '*.c' ! -name '*_test.c' ! -name '*_fuzz.c' ! -name test_main.c \
    ! -path 'src/platform/stub/*' ! -path src/cmd/main.c | LC_ALL=C sort
    find src -name '*.S' ! -path 'src/platform/stub/*' | LC_ALL=C sort ;;
unit) find src -name '*_test.c' | LC_ALL=C sort ;;
fuzz) find src -name '*_fuzz.c' | LC_ALL=C sort ;;
stub) find src/platform/stub \( -name '*.c' -o -name '*.S' \) ! -name '*_test.c' ! -name '*_fuzz.c' | LC_ALL=C sort ;;
stubdeps) { find src/platform/stub src/abi src/base -name '*.h'; echo src/host/raw.h; } | LC_ALL=C sort ;;
esac
