#!/usr/bin/env bash
# Builds and runs every test; the last line is "N passed, N failed". Parts can be named as arguments:
#   tools/test.sh unit guest e2e ...        (default: all of PARTS)
# PLATFORMS="systrap ptrace" chooses the platforms of the sandbox tests.
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
NACRE=$PWD/$BUILD/nacre
PLATFORMS=${PLATFORMS:-systrap ptrace}
PARTS=${*:-lint doc unit sanitizers fuzz guest e2e walls}
passed=0 failed=0
failures=()
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); failures+=("$1"); echo "FAIL $1"; }

# Counts "ok NAME" and "FAIL NAME" lines of a log; a test program that died counts as one failure.
count() { # prefix log status
    local n f
    n=$(grep -c '^ok ' "$2")
    passed=$((passed + n))
    while IFS= read -r f; do bad "$1: ${f#FAIL }"; grep -B3 -F -- "$f" "$2" | grep '^#' | tail -n 2; done < <(grep '^FAIL ' "$2")
    if [ "$3" != 0 ] && ! grep -q '^FAIL ' "$2"; then bad "$1: exit status $3"; tail -n 3 "$2"; fi
}

part_lint() {
    if tools/layers.py >"$out/layers" 2>&1; then ok; else bad "layering"; cat "$out/layers"; fi
}

part_doc() {
    if tools/doc.sh "$NACRE" --check >"$out/doc" 2>&1; then ok; else bad "documents: $(head -n 1 "$out/doc")"; fi
}

unit_run() { # name binary
    timeout -s KILL 600 "$2" >"$out/$1.log" 2>&1
    local st=$?
    # cmocka's lines as ours; a failed test's messages stay as comments before its line.
    sed -n -e 's/^\[ *OK *\] /ok /p;t' -e '/^\[ *FAILED *\] tests:/d' -e 's/^\[ *FAILED *\] /FAIL /p;t' \
        -e 's/^\[ *ERROR *\]/#/p' "$out/$1.log" | awk '!/^FAIL/ || !seen[$0]++' >"$out/$1"
    [ "$st" = 0 ] || tail -n 5 "$out/$1.log"
    count "$1" "$out/$1" $st
}
part_unit() { unit_run unit "$BUILD/unit"; }

part_sanitizers() {
    local s
    for s in address,undefined thread; do
        local d=$BUILD-san-${s%%,*}
        [ -f "$d/build.ninja" ] || CC="${CC:-clang-19}" meson setup "$d" -Db_sanitize=$s -Db_lundef=false -Doptimization=1 >/dev/null
        if ninja -C "$d" --quiet unit >"$out/san-build" 2>&1; then unit_run "unit-${s%%,*}" "$d/unit"
        else bad "build with -fsanitize=$s"; tail -n 5 "$out/san-build"; fi
    done
}

part_fuzz() { # replays every corpus through its harness
    local src name
    mkdir -p "$BUILD/fuzz"
    while IFS= read -r src; do
        name=$(basename "$src" _fuzz.c)
        if tools/build-fuzz.sh "$BUILD" "$src" >"$out/fuzz-$name" 2>&1 &&
            timeout 120 "$BUILD/fuzz/$name" -runs=0 "test/corpus/$name" >>"$out/fuzz-$name" 2>&1; then ok
        else bad "fuzz corpus $name"; tail -n 5 "$out/fuzz-$name"; fi
    done < <(tools/sources.sh fuzz)
}

build_guest() { # compiles the guest programs
    local c n
    mkdir -p "$BUILD/guest"
    for c in test/guest/*.c; do
        n=$BUILD/guest/$(basename "$c" .c)
        [ "$n" -nt "$c" ] && [ "$n" -nt test/guest/gt.h ] && continue
        ${GUEST_CC:-cc} -O1 -g -w -pthread -Itest/guest "$c" -o "$n" -lrt -lutil || bad "compile $c"
    done
}
part_guest() {
    build_guest
    local n p t name
    for n in "$BUILD"/guest/*; do
        name=$(basename "$n")
        [ -f "test/guest/$name.c" ] || continue
        t=$(mktemp -d /tmp/gt.XXXXXX)
        (cd "$t" && GT_DIR=$t timeout 120 "$OLDPWD/$n") >"$out/g" 2>&1
        count "guest/$name on the host" "$out/g" $?
        rm -rf "$t"
        for p in $PLATFORMS; do
            t=$(mktemp -d /tmp/gt.XXXXXX)
            GT_DIR=$t timeout 180 "$NACRE" --platform="$p" do --cwd "$t" --env GT_DIR="$t" -- "$PWD/$n" >"$out/g" 2>&1 </dev/null
            count "guest/$name on $p" "$out/g" $?
            rm -rf "$t"
        done
    done
}

part_e2e() {
    local s p
    for s in test/e2e/*.sh; do
        for p in $PLATFORMS; do
            NACRE=$NACRE PLATFORM=$p timeout 1500 bash "$s" >"$out/e" 2>&1 </dev/null
            count "$(basename "$s" .sh) on $p" "$out/e" $?
        done
    done
}
part_walls() {
    local s
    for s in test/walls/*.sh; do
        [ -f "$s" ] || continue
        NACRE=$NACRE timeout 600 bash "$s" >"$out/w" 2>&1 </dev/null
        count "walls/$(basename "$s" .sh)" "$out/w" $?
    done
}

for part in $PARTS; do
    start=$SECONDS before=$passed
    "part_$part"
    echo "== $part: $((passed - before)) passed, $((SECONDS - start)) s"
done
[ "$failed" = 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
