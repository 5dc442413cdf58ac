#!/bin/bash
# cgroups: limits that hold (memory, tasks, CPU time), what the guest is told of them, update, events,
# pause, and that nothing is left behind, whoever is killed. Needs root and a writable cgroup tree.
. "$(dirname "$0")/lib.sh.inc"
work_dir cg
name=nacre-e2e-${t##*.} # not the pid: tests run in pid namespaces, several at once
groups() { find /sys/fs/cgroup -maxdepth 4 -type d -name "$name*" 2>/dev/null; }
finish() {
    local id g
    for id in $(N list -q 2>/dev/null); do N delete --force "$id" 2>/dev/null; done
    for g in $(groups); do rmdir "$g/nacre" "$g" 2>/dev/null; done
    rm -rf "$t"
}
yes() { local n=$1; shift; if "$@" >"$t/log" 2>&1; then echo "ok $n"; else echo "# $(tail -n 2 "$t/log" | tr '\n' '|')"; echo "FAIL $n"; status=1; fi; }

v2= ; [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && v2=1
if [ -n "$v2" ]; then tree=/sys/fs/cgroup; else tree=/sys/fs/cgroup/memory; fi
if [ "$(id -u)" != 0 ] || ! mkdir "$tree/$name-probe" 2>/dev/null; then echo "# skipped: no writable cgroup tree at $tree"; exit 0; fi
rmdir "$tree/$name-probe"
if [ -n "$v2" ] && ! grep -q memory /sys/fs/cgroup/cgroup.controllers; then echo "# skipped: no memory controller"; exit 0; fi
file() { # controller v1-name v2-name
    if [ -n "$v2" ]; then cat "/sys/fs/cgroup/$name/$3"; else cat "/sys/fs/cgroup/$1/$name/$2"; fi 2>/dev/null
}

cat >"$t/hog.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <pthread.h>
static void *idle(void *a) { sleep(20); return a; }
static void *burn(void *a) { for (volatile long i = 0;; i++) {} return a; }
int main(int argc, char **argv)
{
    if (!strcmp(argv[1], "touch")) {
        size_t n = (size_t)atol(argv[2]) << 20;
        volatile char *p = malloc(n);
        if (!p) { puts("no memory"); return 9; }
        for (size_t i = 0; i < n; i += 4096) p[i] = 1;
        puts("touched");
    } else if (!strcmp(argv[1], "child")) { // only the child is killed
        int st;
        pid_t p = fork();
        if (!p) { execl("/hog", "hog", "touch", argv[2], (char *)0); _exit(1); }
        waitpid(p, &st, 0);
        printf("%s %d\n", WIFSIGNALED(st) ? "signal" : "exit", WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st));
    } else if (!strcmp(argv[1], "forks") || !strcmp(argv[1], "threads")) {
        int n = 1;
        for (; n < 1000; n++) {
            pthread_t th;
            if (argv[1][0] == 't' ? pthread_create(&th, 0, idle, 0) : 0) break;
            if (argv[1][0] == 't') continue;
            pid_t p = fork();
            if (p < 0) break;
            if (!p) { sleep(20); _exit(0); }
        }
        printf("%d\n", n);
        fflush(stdout);
        _exit(0);
    } else if (!strcmp(argv[1], "burn")) { // two threads, seconds of CPU time in so many of wall time
        pthread_t th;
        struct timespec a, c;
        pthread_create(&th, 0, burn, 0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        do clock_gettime(CLOCK_MONOTONIC, &c); while (c.tv_sec - a.tv_sec < atol(argv[2]));
        _exit(0);
    }
    return 0;
}
C
cc=${CC:-cc}
${cc} -static -O1 -pthread -o "$t/hog" "$t/hog.c" 2>/dev/null || cc -static -O1 -pthread -o "$t/hog" "$t/hog.c" || { echo "# skipped: no static C"; exit 0; }
bundle() { # resources args...
    local r=$1; shift
    mkdir -p "$t/b/rootfs/bin"
    cp /bin/busybox "$t/b/rootfs/bin/busybox"
    cp "$t/hog" "$t/b/rootfs/hog"
    local a
    for a in sh cat sleep nproc free head; do ln -sf busybox "$t/b/rootfs/bin/$a"; done
    rm -f "$t/b/config.json"
    (cd "$t/b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json)
    python3 - "$t/b/config.json" "$r" "$name" "$@" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['terminal'] = False
c['process']['args'] = sys.argv[4:]; c['linux']['resources'] = json.loads(sys.argv[2])
c['linux']['cgroupsPath'] = '/' + sys.argv[3]; json.dump(c, open(p, "w"))
P
}
run() { N run --bundle "$t/b" "$@"; }
[ -x /bin/busybox ] || { echo "# skipped: no busybox"; exit 0; }

# --- limits that hold ---
bundle '{"memory":{"limit":67108864}}' /hog touch 1000
run c1 >"$t/out" 2>&1; is memory-kill 137 $?
is memory-no-group-left "" "$(groups)"
bundle '{"memory":{"limit":67108864}}' /hog child 1000
is memory-kills-one-process "signal 9" "$(run c1 2>&1)"
bundle '{"memory":{"limit":67108864}}' /hog touch 30
is memory-within "touched" "$(run c1 2>&1)"
bundle '{"pids":{"limit":20}}' /hog forks
is pids-forks 20 "$(run c1 2>&1)"
bundle '{"pids":{"limit":20}}' /hog threads
is pids-threads 20 "$(run c1 2>&1)"
bundle '{"cpu":{"quota":50000,"period":100000}}' /hog burn 20
N create --bundle "$t/b" c2
N start c2
cpu_us() { if [ -n "$v2" ]; then sed -n 's/^usage_usec //p' "/sys/fs/cgroup/$name/cpu.stat"; else echo $(($(file cpuacct cpuacct.usage) / 1000)); fi; }
now_us() { echo $(($(date +%s%N) / 1000)); }
# Half a CPU between two moments, however long they are apart, and what a period lets through at each end.
from=$(now_us) us=$(cpu_us)
sleep 3
us=$(($(cpu_us) - us)) span=$(($(now_us) - from))
yes cpu-quota test "$us" -lt $((span / 2 + 200000)) -a "$us" -gt 0
N delete --force c2
is cpu-no-group-left "" "$(groups)"

# --- what the guest is told ---
bundle '{"memory":{"limit":134217728,"reservation":67108864},"cpu":{"quota":150000,"period":100000,"shares":1024},"pids":{"limit":33}}' \
    sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.low /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight /sys/fs/cgroup/pids.max; head -n 1 /proc/meminfo; cat /proc/self/cgroup; echo 1 2>/dev/null >/sys/fs/cgroup/pids.max || echo refused'
cpus=$(nproc); [ "$cpus" -gt 2 ] && cpus=2
is told "134217728
67108864
150000 100000
39
33
MemTotal:         131072 kB
0::/
refused" "$(run c1 2>&1)"
bundle '{"cpu":{"quota":150000,"period":100000}}' nproc
is told-nproc "$cpus" "$(run c1 2>&1)"
bundle '{"cpu":{"quota":50000,"period":100000}}' sh -c 'nproc; cat /sys/devices/system/cpu/online'
is told-half-a-cpu "1
0" "$(run c1 2>&1)"
if [ "$(nproc)" -gt 1 ]; then
    bundle '{"cpu":{"cpus":"0"}}' sh -c 'nproc; cat /sys/fs/cgroup/cpuset.cpus.effective'
    is told-cpuset "1
0" "$(run c1 2>&1)"
fi

# --- everything is inside ---
bundle '{"memory":{"limit":134217728},"pids":{"limit":30}}' sleep 300
N create --bundle "$t/b" --pid-file "$t/pid" c3
sup=$(cat "$t/pid")
inside() { if [ -n "$v2" ]; then cat "/sys/fs/cgroup/$name/cgroup.procs" "/sys/fs/cgroup/$name/nacre/cgroup.procs"; else file memory cgroup.procs; fi; }
yes inside-supervisor grep -qx "$sup" <(inside)
kids=$(cat "/proc/$sup/task/$sup/children")
for k in $kids; do yes inside-child grep -qx "$k" <(inside); done
yes inside-stubs test "$(inside | wc -l)" -ge 4
adj() { cat "/proc/$1/oom_score_adj"; }
stub=$(for p in $(inside); do [ "$(cat "/proc/$p/comm")" = nacre-stub ] && echo "$p"; done | head -n 1)
yes oom-prefers-stubs test "$(adj "$stub")" -gt "$(adj "${kids%% *}")"
N start c3

# --- update ---
yes update-flags N update --memory 256m --pids-limit 40 --cpu-quota 70000 c3
is update-memory-host 268435456 "$(file memory memory.limit_in_bytes memory.max)"
is update-told "268435456
40
70000 100000
MemTotal:         262144 kB" "$(N exec c3 sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max; head -n 1 /proc/meminfo')"
echo '{"memory":{"limit":201326592},"cpu":{"shares":2048}}' >"$t/res.json"
yes update-json N update --resources "$t/res.json" c3
is update-json-host 201326592 "$(file memory memory.limit_in_bytes memory.max)"
echo '{"pids":{"limit":25}}' | timeout 20 "$NACRE" --root "$t/state" update -r - c3
is update-stdin "25" "$(N exec c3 cat /sys/fs/cgroup/pids.max)"
is update-pids-hold 24 "$(N exec c3 /hog threads | head -n 1)"
is update-bad-value 1 "$(N update --memory lots c3 2>/dev/null; echo $?)"
is update-bad-json 1 "$(echo '{"memory":{"limit":"x"}}' >"$t/res.json"; N update -r "$t/res.json" c3 2>/dev/null; echo $?)"

# --- events ---
N events --stats c3 >"$t/stats.json"
python3 - "$t/stats.json" <<'P' && echo "ok events-shape" || { echo "FAIL events-shape"; status=1; }
import json, sys
o = json.load(open(sys.argv[1])); d = o["data"]
assert o["type"] == "stats" and o["id"] == "c3"
assert list(d) == ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"], list(d)
assert d["cpu"]["usage"]["total"] > 0 and set(d["memory"]["usage"]) >= {"limit", "usage", "failcnt"}
assert d["memory"]["usage"]["limit"] == 201326592 and 1 << 20 < d["memory"]["usage"]["usage"] < 64 << 20
assert d["pids"]["current"] >= 3 and "raw" in d["memory"]
P
(N events --interval 200ms c3 >"$t/events") & ev=$!
until_is '[ -s "$t/events" ]; echo $?' 0
is events-oom-status 137 "$(N exec c3 /hog touch 1000; echo $?)"
until_is 'grep -q "oom.,.id" "$t/events" && [ $(grep -c stats "$t/events") -ge 2 ]; echo $?' 0
is events-oom '{"type":"oom","id":"c3"}' "$(grep '"oom","id"' "$t/events" | sort -u)"
yes events-periodic test "$(grep -c '"type":"stats"' "$t/events")" -ge 2
is oom-container-lives running "$(N state c3 | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])')"

# --- pause ---
frozen() { if [ -n "$v2" ]; then grep -c 'frozen 1' "/sys/fs/cgroup/$name/nacre/cgroup.events"; else [ "$(file freezer freezer.state)" = FROZEN ] && echo 1 || echo 0; fi; }
yes pause N pause c3
is pause-frozen 1 "$(frozen)"
is pause-state paused "$(N state c3 | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])')"
is pause-ps "[$(N state c3 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')]" "$(N ps --format json c3 | tr -d ' ')"
is pause-still-frozen 1 "$(frozen)"
yes resume N resume c3
is resume-runs "up" "$(N exec c3 sh -c 'echo up')"
N pause c3
yes delete-paused N delete --force c3
wait $ev 2>/dev/null
is delete-no-group-left "" "$(groups)"

# --- whoever is killed ---
bundle '{"memory":{"limit":134217728}}' sleep 300
N run --bundle "$t/b" c4 >/dev/null 2>&1 &
for i in $(seq 100); do [ -n "$(N list -q)" ] && [ -n "$(groups)" ] && break; sleep 0.05; done
sleep 0.3
kill -9 "$(N state c4 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')"
until_is groups ''
is kill9-foreground "" "$(groups)"
N create --bundle "$t/b" --pid-file "$t/pid" c5 && N start c5
kill -9 "$(cat "$t/pid")"
until_is 'st c5' stopped
yes kill9-detached-delete N delete c5
is kill9-detached "" "$(groups)"
N create --bundle "$t/b" --pid-file "$t/pid" c6 && N start c6
for k in $(cat "/proc/$(cat "$t/pid")/task/$(cat "$t/pid")/children"); do kill -9 "$k"; done
sleep 0.3
yes kill9-children-delete N delete --force c6
is kill9-children "" "$(groups)"
for d in 0.002 0.005 0.01 0.02 0.04; do # the command itself, at any time
    timeout -s KILL $d "$NACRE" --root "$t/state" create --bundle "$t/b" c7 </dev/null >/dev/null 2>&1
    until_is 'N delete --force c7 >/dev/null 2>&1; echo $?' 0 # while its supervisor begins, it may not
    is "kill9-create-$d" "" "$(groups)"
done

# --- a group of somebody else's inside: said, and done once that is gone ---
N create --bundle "$t/b" --pid-file "$t/pid" c9 && N start c9
mkdir "$tree/$name/strange"
kill -9 "$(cat "$t/pid")"
sleep 0.2
is strange-group-delete 1 "$(N delete --force c9 2>"$t/out"; echo $?)"
yes strange-group-named grep -q 'cgroup of c9' "$t/out"
rmdir "$tree/$name/strange"
yes strange-group-gone N delete c9
is strange-group-nothing-left "" "$(groups)"

# --- a group that is there already ---
bundle '{}' /hog touch 1
N create --bundle "$t/b" c9
N create --bundle "$t/b" c10 2>"$t/out"
yes shared-group-named grep -q "container's cgroup is not empty" "$t/out"
yes shared-group-first-goes-on N start c9
N delete --force c9 2>/dev/null
yes shared-group-last-removes N delete --force c10
N delete --force c9
is shared-group-nothing-left "" "$(groups)"
freezer=/sys/fs/cgroup/freezer/$name/freezer.state
[ -d /sys/fs/cgroup/freezer ] || freezer=$tree/$name/cgroup.freeze
mkdir -p "${freezer%/*}"
case $freezer in *state) echo FROZEN >"$freezer" ;; *) echo 1 >"$freezer" ;; esac
is frozen-group-refused "1 1" "$(run c8 >"$t/out" 2>&1; echo $?) $(grep -c "container's cgroup unexpectedly frozen" "$t/out")"
case $freezer in *state) echo THAWED >"$freezer" ;; *) echo 0 >"$freezer" ;; esac
rmdir "${freezer%/*}"
is frozen-group-nothing-left "" "$(groups)"

# --- refused ---
bundle '{}' /hog touch 1
sed -i "s,\"/$name\",\"/$name/../../x\"," "$t/b/config.json"
is dotdot-refused 1 "$(run c8 >"$t/out" 2>&1; echo $?)"
yes dotdot-named grep -q 'cgroupsPath' "$t/out"
bundle '{"unified":{"cgroup.kill":"1"}}' /hog touch 1
is core-file-refused 1 "$(run c8 2>/dev/null; echo $?)"
is end-no-group-left "" "$(groups)"
exit $status
