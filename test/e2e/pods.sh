#!/bin/bash
# Pods: several containers in one sandbox, as containerd's and CRI-O's annotations ask for. What they
# share and what not; each one's commands; ends, restarts, deletions in any order; processes that are
# killed; nothing is left.
. "$(dirname "$0")/lib.sh.inc"
work_dir pods
pid() { N state "$1" 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])' 2>/dev/null; }
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }
cp "$(command -v busybox)" "$t/busybox"
${GUEST_CC:-cc} -static -O1 -w "$(dirname "$0")/podtool.c" -o "$t/podtool" || exit 1
mkdir "$t/volume"
bundle() { # NAME SCRIPT [python]: $s the sandbox's id, ns() a namespace
    local b=$t/b-$1 a
    mkdir -p "$b/rootfs/bin"
    cp "$t/busybox" "$t/podtool" "$b/rootfs/bin/"
    for a in sh cat echo id sleep ls kill true hostname mount ps grep readlink mkfifo timeout; do ln -sf busybox "$b/rootfs/bin/$a"; done
    echo "$1" >"$b/rootfs/name"
    rm -f "$b/config.json"
    (cd "$b" && "$NACRE" spec)
    python3 - "$b/config.json" "$2" "${3:-}" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['terminal'] = False
c['process']['args'] = ['sh', '-c', sys.argv[2]]
def sandbox(): c['annotations'] = {'io.kubernetes.cri.container-type': 'sandbox', 'io.kubernetes.cri.sandbox-id': 'pod'}
def member(id='pod'): c['annotations'] = {'io.kubernetes.cri.container-type': 'container', 'io.kubernetes.cri.sandbox-id': id}
def ns(**k): # name=path; '': a new one; None: not listed
    l = {n['type']: n.get('path', '') for n in c['linux']['namespaces']}
    for n, v in k.items():
        l.pop(n, None)
        if v is not None: l[n] = v
    c['linux']['namespaces'] = [dict(type=n, path=v) if v else dict(type=n) for n, v in l.items()]
def volume(at='/data'): c['mounts'].append({'destination': at, 'type': 'bind', 'source': sys.argv[1].rsplit('/', 2)[0] + '/volume', 'options': ['rbind', 'rw']})
exec(sys.argv[3]); json.dump(c, open(p, "w"))
P
}
pause='trap "exit 0" TERM; while :; do sleep 0.05; done'
loop='trap "exit 7" TERM; echo up; while :; do sleep 0.05; done'
shared() { # of the container $1: its namespaces, as containerd's CRI plugin writes them
    local p
    p=$(pid "$1")
    echo "ns(ipc='/proc/$p/ns/ipc', uts='/proc/$p/ns/uts', network='/proc/$p/ns/net')"
}
start_pod() {
    bundle pause "$pause" "sandbox(); c['hostname']='podhost'"
    N create --bundle "$t/b-pause" --pid-file "$t/pod.pid" pod >/dev/null 2>"$t/err" && N start pod
}
run_member() { # NAME SCRIPT python
    bundle "$1" "$2" "member(); $(shared pod); $3"
    N create --bundle "$t/b-$1" --pid-file "$t/$1.pid" "$1" >"$t/$1.out" 2>&1 && N start "$1"
}

# The sandbox, and two that join it.
start_pod; is sandbox "0 running" "$? $(st pod)"
run_member a "$loop" "volume(); c['hostname']='ignored'; c['root']['readonly']=False"; is join "0 running" "$? $(st a)"
[ "$(st a)" = running ] || { cat "$t/a.out"; exit 1; }
bundle b "$loop" "member(); $(shared pod); volume('/vol')"
N create --bundle "$t/b-b" b >"$t/b.out" 2>&1; is join-create "0 created" "$? $(st b)"
is exec-before-start "0 created" "$(N exec b true; echo $?) $(st b)"
is not-started "" "$(cat "$t/b.out")"
N start b; is join-start "0 running" "$? $(st b)"
until_is 'cat "$t/b.out"' up; is member-output "up up" "$(echo $(cat "$t/a.out" "$t/b.out"))"
[ "$(pid a)" != "$(pid pod)" ] && [ "$(pid a)" = "$(cat "$t/a.pid")" ] && kill -0 "$(pid a)"; is member-pid 0 $?
is one-sentry "1 1 2" "$(children "$(pid a)" | wc -w) $(children "$(pid b)" | wc -w) $(children "$(pid pod)" | wc -w)"
is list 3 "$(N list | grep -c running)"
fails join-twice "already exists" N create --bundle "$t/b-b" b

# What they see of each other.
is own-root "a b pause" "$(echo $(N exec a cat /name) $(N exec b cat /name) $(N exec pod cat /name))"
is own-pids "$(pid a) 1" "$(N ps --format json a | python3 -c 'import json,sys; print(json.load(sys.stdin)[0])') $(N exec b sh -c 'cd /proc; ls -d [0-9]* | head -n 1')"
N exec a sh -c 'sleep 123 & sleep 1' & w=$!
until_is 'N ps a | grep -c sleep' 2; is other-processes 0 "$(N exec b sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null' | tr '\0' ' ' | grep -c 123)"
wait $w
is shared-hostname "podhost podhost" "$(N exec a hostname) $(N exec b hostname)"
N exec --cap CAP_SYS_ADMIN a hostname changed; is hostname-of-pod changed "$(N exec b hostname)"
N exec a sh -c 'echo hello >/data/file'; is volume "hello hello" "$(N exec b cat /vol/file) $(cat "$t/volume/file")"
N exec --cap CAP_SYS_ADMIN a sh -c 'mkdir /bin/new /t; mount -t tmpfs x /t; echo 1 >/t/f'; is own-mounts "0 1" "$(N exec b sh -c 'ls /bin | grep -c new') $(N exec b sh -c 'test -e /t/f'; echo $?)"
is mountinfo "0" "$(N exec b grep -c ' /t ' /proc/self/mountinfo)"
N exec b sh -c 'ls /proc/1/root/ | grep -c name' >"$t/o"; is proc-root 1 "$(cat "$t/o")"

# System V objects and message queues, in a shared namespace and in one of its own.
N exec a podtool shm 7 seven; N exec a podtool sem 7 3; N exec a podtool mq /q text
is shared-ipc "seven 3" "$(echo $(N exec b podtool shm 7) $(N exec b podtool sem 7))"
run_member i "$loop" "ns(ipc='')"
is own-ipc "none none none" "$(echo $(N exec i podtool shm 7) $(N exec i podtool sem 7) $(N exec i podtool mq /q))"
is shared-mq text "$(N exec b podtool mq /q)"
N exec i podtool shm 7 mine; is own-ipc-is-own "mine seven" "$(echo $(N exec i podtool shm 7) $(N exec a podtool shm 7))"
[ "$(N exec a readlink /proc/1/ns/ipc)" = "$(N exec b readlink /proc/1/ns/ipc)" ] && [ "$(N exec a readlink /proc/1/ns/ipc)" != "$(N exec i readlink /proc/1/ns/ipc)" ]; is ns-ipc 0 $?
N delete -f i
bundle i "$loop" "member(); $(shared pod); ns(ipc='/proc/$(pid a)/ns/ipc')"
N run -d --bundle "$t/b-i" i >/dev/null 2>&1; is ipc-by-path seven "$(N exec i podtool shm 7)"
N delete -f i

# One volume in two containers: locks, futexes, sockets.
N exec a podtool lock /data/l 3 >"$t/o" & w=$!
until_is 'cat "$t/o"' locked; is volume-lock busy "$(N exec b podtool trylock /vol/l)"; wait $w
is volume-lock-free free "$(N exec b podtool trylock /vol/l)"
N exec --cap CAP_DAC_OVERRIDE a sh -c 'i=0; while [ $i -lt 100 ]; do echo x >>/data/r$i; i=$((i+1)); done' & w=$!
N exec --cap CAP_DAC_OVERRIDE b sh -c 'i=0; while [ $i -lt 100 ]; do echo x >>/vol/r$i; i=$((i+1)); done'; wait $w
is volume-create 200 "$(cat "$t"/volume/r* | wc -l)"
N exec a podtool wait /data/f >"$t/o" & w=$!
is volume-futex "woke 1" "$(N exec b podtool wake /vol/f)"; wait $w; is volume-futex-woken woken "$(cat "$t/o")"
N exec a podtool listen /data/s >"$t/o" & w=$!
is volume-socket hello "$(N exec b podtool connect /vol/s)"; wait $w; is volume-socket-end "" "$(cat "$t/o")"
N exec a sh -c 'mkfifo /data/p; echo through >/data/p' & w=$!
until_is 'N exec b ls /vol | grep -cx p' 1; is volume-fifo through "$(N exec b timeout 10 cat /vol/p)"; wait $w

# Commands on one of them leave the others alone.
N pause a; is pause "0 paused running" "$? $(st a) $(st b)"
is exec-in-other b "$(N exec b cat /name)"
N resume a; is resume "0 running" "$? $(st a)"
N exec a sh -c 'exit 5'; is exec-status 5 $?
N wait a >"$t/wait" & w=$!
sleep 0.2; N kill a TERM; wait $w; is wait 7 "$(cat "$t/wait")"
until_is 'st a' stopped; is stopped "stopped running running" "$(st a) $(st b) $(st pod)"
fails exec-stopped "cannot exec in a stopped container" N exec a true
N delete a; is delete "0 2" "$? $(N list -q | wc -l)"
run_member a "$loop" "volume()"; is restart "0 running" "$? $(st a)"
is restarted-sees hello "$(N exec a cat /data/file)"
N kill a KILL; until_is 'st a' stopped; is killed "stopped 137" "$(st a) $(N wait a)"
for i in 1 2 3 4 5; do N delete a; run_member a 'exit 3' ""; [ "$(N wait a)" = 3 ] || echo "# run $i"; until_is 'st a' stopped; done
is restarts "3 running" "$(N wait a) $(st b)"
N delete a

# Ends before the start, and starts that fail.
bundle f 'read x <&3; echo "$x" $(ls /proc/self/fd)' "member(); $(shared pod)"
N create --bundle "$t/b-f" --preserve-fds 2 f >"$t/f.out" 2>&1 3< <(echo three) 4</dev/null; N start f; until_is 'st f' stopped
is preserve-fds "three 0 1 2 3 4 5" "$(cat "$t/f.out")"; N delete f
bundle c "$loop" "member(); $(shared pod)"
N create --bundle "$t/b-c" c >/dev/null 2>&1; N kill c TERM; until_is 'st c' stopped; is kill-created "stopped 143" "$(st c) $(N wait c)"
N delete c
N create --bundle "$t/b-c" c >/dev/null 2>&1; N delete c; is delete-created "0 2" "$? $(N list -q | wc -l)"
bundle bad true "member(); $(shared pod); c['process']['args']=['/no/such']"
N create --bundle "$t/b-bad" bad 2>"$t/err"; is missing-program "1 1" "$? $(grep -c 'no such file or directory' "$t/err")"
bundle bad true "member(); c['process']['cwd']='/name/x'"
fails bad-cwd "working directory" N create --bundle "$t/b-bad" bad
bundle bad true "member('nobody')"
fails no-sandbox "sandbox nobody: container does not exist" N create --bundle "$t/b-bad" bad
bundle bad true "member('b')"
fails member-of-member "sandbox b: " N create --bundle "$t/b-bad" bad
bundle bad true "member(); ns(pid='/proc/1/ns/pid')"
fails strange-namespace "of no container of sandbox pod" N create --bundle "$t/b-bad" bad
bundle bad true "sandbox(); ns(pid='/proc/1/ns/pid')"
fails sandbox-joins "joining a pid namespace" N create --bundle "$t/b-bad" bad
is after-failures "running running" "$(st pod) $(st b)"

# A shared pid namespace: of the sandbox, because none is listed; of another container, by its path.
run_member s "sleep 321 & $loop" "ns(pid=None)"; is shared-pid "0 running" "$? $(st s)"
is sees-pause 1 "$(N exec s sh -c 'cat /proc/1/cmdline' | grep -c exit.0)"
is pause-sees 1 "$(N exec pod sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null' | tr '\0' '\n' | grep -cx 321)"
is ps-is-its-own "0 1" "$(N ps pod | grep -c 321) $(N ps s | grep -c sleep | sed 's/[2-9]/1/')"
p=$(pid b); bundle d "$loop" "member(); $(shared pod); ns(pid='/proc/$p/ns/pid')"
N run -d --bundle "$t/b-d" d >/dev/null 2>&1; is target-pid "0 1" "$? $(N exec d sh -c 'cat /proc/1/cmdline' | grep -c 'exit 7')"
N kill --all d KILL; until_is 'st d' stopped; is target-lives "stopped running" "$(st d) $(st b)"
N delete d
N kill s KILL; until_is 'st s' stopped
is its-children-too 0 "$(N exec pod sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null' | tr '\0' '\n' | grep -cx 321)"
N delete s; is shared-gone "0 running" "$? $(st pod)"

# What an engine sees: a process of its own for each container, with its exit status.
cat >"$t/shim.py" <<'P'
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
pidfile, then = sys.argv[1], sys.argv[2]
r = subprocess.run(sys.argv[3:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if r.returncode: print("create failed", r.returncode); sys.exit(1)
pid = int(open(pidfile).read())
subprocess.run(["sh", "-c", then])
_, s = os.waitpid(pid, 0)
print("exit", os.waitstatus_to_exitcode(s))
P
bundle e 'exit 42' "member(); $(shared pod)"
shim() { timeout 60 python3 "$t/shim.py" "$t/e.pid" "$1" "$NACRE" --platform="$PLATFORM" --root "$t/state" create --bundle "$t/b-e" --pid-file "$t/e.pid" e; N delete -f e; }
is pid-status "exit 42" "$(shim "$NACRE --root $t/state start e")"
bundle e "$loop" "member(); $(shared pod)"
is pid-killed "exit 137" "$(shim "$NACRE --root $t/state start e; $NACRE --root $t/state kill e 9")"
is pid-kill-created "exit 143" "$(shim "$NACRE --root $t/state kill e TERM")"

# A Gofer that is killed takes its container along, and nobody else; so does its supervisor.
run_member a "$loop" ""
kill -9 $(children "$(pid a)"); until_is 'st a' stopped; is gofer-killed "stopped running running" "$(st a) $(st b) $(st pod)"
is gofer-killed-status 1 "$(N wait a)"
is others-have-files "b pause" "$(echo $(N exec b cat /name) $(N exec pod cat /name))"
N delete a
run_member a "sleep 777 & $loop" "ns(pid=None)"
g=$(children "$(pid a)"); kill -9 "$(pid a)"; until_is 'st a' stopped; is supervisor-killed "stopped running" "$(st a) $(st b)"
until_is "N exec pod sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null' | tr '\0' '\n' | grep -cx 777" 0; is supervisor-killed-ends 0 "$(N exec pod sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null' | tr '\0' '\n' | grep -cx 777)"
until_is "kill -0 $g 2>/dev/null; echo \$?" 1; is its-gofer-too 0 $?
N delete a
run_member a "$loop" ""; is joins-again running "$(st a)"

# The end of the sandbox is everybody's.
N kill pod KILL; until_is 'st a' stopped; until_is 'st b' stopped; until_is 'st pod' stopped
is sandbox-killed "stopped stopped stopped" "$(st pod) $(st a) $(st b)"
is sandbox-killed-status "137 137 137" "$(N wait pod) $(N wait a) $(N wait b)"
fails join-dead "sandbox pod: it is not running" N create --bundle "$t/b-c" c
N delete b; N delete pod; N delete a; is deleted "0 0" "$? $(ls "$t/state" | wc -l)"
start_pod; run_member a "$loop" ""; run_member b "$loop" ""
sentry=$(for p in $(children "$(pid pod)"); do grep -qa boot "/proc/$p/cmdline" && echo "$p"; done)
pids="$(pid pod) $(pid a) $(pid b) $sentry"
kill -9 "$sentry"; for c in pod a b; do until_is "st $c" stopped; done
is sentry-killed "137 137 137" "$(N wait pod) $(N wait a) $(N wait b)"
for c in a pod b; do N delete "$c"; done; is sentry-killed-deleted 0 "$(ls "$t/state" | wc -l)"
until_is "for p in $pids; do [ -d /proc/\$p ] && [ \"\$(cut -d' ' -f3 /proc/\$p/stat)\" != Z ] && echo \$p; done" ""; is nothing-lives 0 $?
start_pod; run_member a "$loop" ""; run_member b "$loop" ""
N delete --force pod; until_is 'st b' stopped; is delete-sandbox-first "stopped stopped" "$(st a) $(st b)"
N delete a; N delete --force b; is delete-members-after 0 "$(ls "$t/state" | wc -l)"

# CRI-O's names for the same; many members at once.
bundle pause "$pause" "c['annotations']={'io.kubernetes.cri-o.ContainerType':'sandbox','io.kubernetes.cri-o.SandboxID':'pod'}; ns(ipc='/var/run/ipcns/x', uts='/var/run/utsns/x')"
N run -d --bundle "$t/b-pause" pod >/dev/null 2>&1; is crio-sandbox 0 $?
for i in $(seq 12); do
    bundle "m$i" "$loop" "c['annotations']={'io.kubernetes.cri-o.ContainerType':'container','io.kubernetes.cri-o.SandboxID':'pod'}; ns(ipc='/var/run/ipcns/x', uts='/var/run/utsns/x')"
done
for i in $(seq 12); do N run -d --bundle "$t/b-m$i" "m$i" >/dev/null 2>&1 & done; wait
is many 13 "$(N list | grep -c running)"
for i in $(seq 12); do N delete -f "m$i" & done; wait
is many-deleted "1 running" "$(N list -q | wc -l) $(st pod)"
N delete -f pod
bundle lone "$loop" "c['annotations']={'io.kubernetes.cri-o.ContainerType':'container'}"
N run -d --bundle "$t/b-lone" lone >/dev/null 2>&1; is container-without-pod "0 running" "$? $(st lone)"
N delete -f lone
is nothing-left 0 "$(ls "$t/state" | wc -l)"
exit $status
