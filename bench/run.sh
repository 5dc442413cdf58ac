#!/usr/bin/env bash
# Benchmarks: native beside Nacre (and runc and runsc where they are installed), in one run, as
# ratios to native. Output is a Markdown table. Arguments choose micro benchmarks by substring.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
NACRE=$PWD/$BUILD/nacre
mkdir -p "$BUILD/bench"
for p in micro spawn policy; do cc -O2 -pthread "bench/$p.c" -o "$BUILD/bench/$p"; done
M=$PWD/$BUILD/bench/micro S=$PWD/$BUILD/bench/spawn
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

# A bundle on the host's program directories, read-only, with a tmpfs /tmp: bundle RUNTIME command...
bundle() {
    rm -rf "$t/bundle"
    mkdir -p "$t/bundle/rootfs/bench"
    cp "$M" "$t/bundle/rootfs/bench/micro"
    (cd "$t/bundle" && "$1" spec)
    python3 - "$t/bundle/config.json" "${@:2}" <<'P'
import json, os, sys
p = sys.argv[1]; c = json.load(open(p))
c["root"] = {"path": "rootfs", "readonly": False}
c["process"]["terminal"] = False
c["process"]["args"] = sys.argv[2:]
c["mounts"] = [m for m in c["mounts"] if m["type"] != "cgroup"]
c["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
for d in ("/usr", "/etc"):
    c["mounts"].append({"destination": d, "type": "bind", "source": d, "options": ["rbind", "ro"]})
json.dump(c, open(p, "w"))
for d in ("bin", "lib", "lib64", "sbin"):
    if os.path.islink("/" + d):
        os.symlink(os.readlink("/" + d), os.path.dirname(p) + "/rootfs/" + d)
P
}

"$M" "$@" >"$t/native"
cols=(native nacre)
"$NACRE" do -- "$M" "$@" >"$t/nacre"
if command -v runsc >/dev/null; then
    runsc --rootless --network=none do "$M" "$@" >"$t/runsc" 2>/dev/null && cols+=(runsc)
fi
if command -v runc >/dev/null && [ "$(id -u)" = 0 ]; then
    bundle runc /bench/micro "$@" && runc run --bundle "$t/bundle" "nacre-bench-$$" >"$t/runc" 2>"$t/runc.err" && cols+=(runc)
fi
python3 - "$t" "${cols[@]}" <<'P'
import sys
t, cols = sys.argv[1], sys.argv[2:]
d = {c: {l.split("\t")[0]: l.rstrip("\n").split("\t")[1:] for l in open(f"{t}/{c}")} for c in cols}
print("| what | " + " | ".join(f"{c}, ns" if c == "native" else f"{c}, ns (x native)" for c in cols) + " |")
print("|---" * (len(cols) + 1) + "|")
for k, v in d["native"].items():
    v, spread = v
    row = [f"{float(v):,.0f} ±{spread}%"]
    for c in cols[1:]:
        x = d[c].get(k)
        row.append(f"{float(x[0]):,.0f} ±{x[1]}% ({float(x[0])/float(v):.2f})" if x else "-")
    print(f"| {k} | " + " | ".join(row) + " |")
P
[ $# = 0 ] || exit 0
echo
echo "| whole runs (median) | native, ms | nacre, ms | runc, ms |"
echo "|---|---|---|---|"
ms() { awk -v u="$1" 'BEGIN {printf "%.1f", u / 1000}'; }
row() { # name N command...
    local name=$1 n=$2 a b c=-
    shift 2
    a=$("$S" "$n" "$@")
    b=$("$S" "$n" "$NACRE" do -- "$@")
    if command -v runc >/dev/null && [ "$(id -u)" = 0 ]; then
        bundle runc "$@"
        c=$("$S" "$n" sh -c "exec runc run --bundle $t/bundle nacre-bench-\$\$" 2>>"$t/runc.err") && c=$(ms "$c")
    fi
    echo "| $name | $(ms "$a") | $(ms "$b") | $c |"
}
row "true, start to exit" 30 /bin/true
if command -v runc >/dev/null && [ "$(id -u)" = 0 ]; then
    bundle runc /bin/true
    d=$("$S" 30 sh -c "exec $NACRE run --bundle $t/bundle nacre-bench-\$\$")
    e=$("$S" 30 sh -c "exec runc run --bundle $t/bundle nacre-bench-\$\$" 2>>"$t/runc.err")
    echo "| true, the same OCI bundle | - | $(ms "$d") | $(ms "$e") |"
fi
row "python3 -c pass" 15 /usr/bin/python3 -c pass
row "sh: 200 forks" 5 /bin/sh -c 'i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done'
row "find /usr -xdev" 3 /usr/bin/find /usr -xdev
echo
echo "| programs, inside a running sandbox: first / later run | native, ms | nacre, ms |"
echo "|---|---|---|"
L=$PWD/bench/loads.sh
"$L" prepare "$t/loads"
for l in $("$L" names); do
    a=$("$L" run "$l" "$t/loads" | cut -f2,3 --output-delimiter=' / ' || true)
    b=$("$NACRE" do -- "$L" run "$l" "$t/loads" | cut -f2,3 --output-delimiter=' / ' || true)
    echo "| $l | ${a:--} | ${b:--} |"
done
echo
echo "| polling policy, units per second | native | nacre | native, one CPU | nacre, one CPU |"
echo "|---|---|---|---|---|"
P=$PWD/$BUILD/bench/policy
for l in calls busy2 spin64 futex64; do
    echo "| $l | $("$P" "$l" | cut -f2) | $("$NACRE" do -- "$P" "$l" | cut -f2) |" \
        "$(taskset -c 0 "$P" "$l" | cut -f2) | $(taskset -c 0 "$NACRE" do -- "$P" "$l" | cut -f2) |"
done
# Memory and CPU of an idle sandbox: all its processes together.
"$NACRE" do -- /bin/sleep 90 &
pid=$!
sleep 2
tree() { local p; for p in $(cat /proc/"$1"/task/*/children 2>/dev/null); do echo "$p"; tree "$p"; done; }
pids="$pid $(tree $pid)"
ticks() { local s=0 p; for p in $pids; do set -- $(sed 's/.*) //' "/proc/$p/stat"); s=$((s + ${12} + ${13})); done; echo $s; }
wakes() { local s=0 p v; for p in $pids; do v=$(cat /proc/"$p"/task/*/status | awk '/ctxt/ {n += $2} END {print n + 0}'); s=$((s + v)); done; echo $s; }
a=$(ticks); wa=$(wakes); sleep 60; b=$(ticks); wb=$(wakes)
pss=0
for p in $pids; do v=$(awk '/^Pss:/ {print $2}' "/proc/$p/smaps_rollup"); pss=$((pss + ${v:-0})); done
echo
echo "Idle sandbox (sleep): PSS of its $(echo $pids | wc -w) processes $pss KiB; CPU in 60 s: $(((b - a) * 10)) ms, $((wb - wa)) context switches."
kill $pid 2>/dev/null; wait $pid 2>/dev/null || true
