#!/bin/bash
# The OCI lifecycle: create, start, state, kill, delete, run --detach, exec, pause, wait, as engines
# use them; wrong orders; supervisors that are killed; many at once; terminals over console sockets.
. "$(dirname "$0")/lib.sh.inc"
work_dir life
bundle() { # DIR SCRIPT [python]
    mkdir -p "$1/rootfs/bin"
    cp "$t/busybox" "$1/rootfs/bin/busybox"
    local a
    for a in sh cat echo id sleep stty ls kill true; do ln -sf busybox "$1/rootfs/bin/$a"; done
    rm -f "$1/config.json"
    (cd "$1" && "$NACRE" spec)
    python3 - "$1/config.json" "$2" "${3:-}" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['terminal'] = False
c['process']['args'] = ['sh', '-c', sys.argv[2]]; exec(sys.argv[3]); json.dump(c, open(p, "w"))
P
}
# Starts the command as the child of a subreaper, as engines do; then prints the exit status of the
# process in the pid file.
cat >"$t/shim.py" <<'P'
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
pidfile, then = sys.argv[1], sys.argv[2]
r = subprocess.run(sys.argv[3:], stdin=subprocess.DEVNULL)
if r.returncode: print("create failed", r.returncode); sys.exit(1)
pid = int(open(pidfile).read())
subprocess.run(["sh", "-c", then])
_, s = os.waitpid(pid, 0)
print("exit", os.waitstatus_to_exitcode(s))
P
cat >"$t/console.py" <<'P'
import array, os, select, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1); s.settimeout(20)
c, _ = s.accept()
data, anc, _, _ = c.recvmsg(4096, socket.CMSG_SPACE(4))
fd = array.array("i", anc[0][2])[0]
out, end, sent = b"", time.time() + 20, False
while time.time() < end:
    if not select.select([fd], [], [], 1)[0]: continue
    try: d = os.read(fd, 4096)
    except OSError: break
    if not d: break
    out += d
    if b"ready" in out and not sent: os.write(fd, sys.argv[2].encode().decode("unicode_escape").encode()); sent = True
sys.stdout.write(out.decode().replace("\r", ""))
P
cp "$(command -v busybox)" "$t/busybox"
loop='trap "exit 7" TERM; echo up; while :; do sleep 0.05; done'
b=$t/b; bundle "$b" "$loop" "c['annotations']={'org.test':'x'}"

# The usual sequence.
N create --bundle "$b" --pid-file "$t/pid" a >"$t/out" 2>&1; is create 0 $?
is created-status created "$(st a)"
is not-started "" "$(cat "$t/out")"
is pid-file "$(cat "$t/pid")" "$(N state a | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')"
is state-json "a x $b 1.2.0" "$(N state a | python3 -c 'import json,sys; d=json.load(sys.stdin); print(d["id"], d["annotations"]["org.test"], d["bundle"], d["ociVersion"])')"
fails create-twice "already exists" N create --bundle "$b" a
is exec-before-start "0 created" "$(N exec a true; echo $?) $(st a)"
N start a; is start 0 $?
is running running "$(st a)"
until_is 'cat "$t/out"' up; is output up "$(cat "$t/out")"
fails start-twice "cannot start an already running container" N start a
fails delete-running "cannot delete container a that is not stopped: running" N delete a
is list-quiet a "$(N list -q)"
is list-json "a running" "$(N list --format json | python3 -c 'import json,sys; d=json.load(sys.stdin)[0]; print(d["id"], d["status"])')"
is list-table 2 "$(N list | grep -c .)"
fails unknown-signal "unknown signal" N kill a NOSUCH
N kill a SIGUSR2; is kill-ignored-by-init running "$(st a)"

# exec
is exec "uid=0 gid=0" "$(N exec a id | cut -d' ' -f1,2 | sed 's/([a-z]*)//g')"
N exec a sh -c 'exit 9'; is exec-status 9 $?
N exec a sh -c 'kill -9 $$'; is exec-signal 137 $?
N exec a nosuchprogram 2>"$t/err"; is exec-missing "255 1" "$? $(grep -c 'executable file not found in \$PATH' "$t/err")"
is exec-flags "12:34 /bin v" "$(N exec --user 12:34 --cwd /bin --env K=v a sh -c 'echo $(id -u):$(id -g) $PWD $K')"
is exec-stdin hello "$(echo hello | timeout 20 "$NACRE" --platform="$PLATFORM" --root "$t/state" exec a cat)"
python3 -c 'import json; json.dump({"args":["sh","-c","echo $A"],"cwd":"/","env":["PATH=/bin","A=file"],"user":{"uid":0,"gid":0}}, open("'"$t"'/p.json","w"))'
is exec-process file "$(N exec --process "$t/p.json" a)"
is exec-detach "exit 3" "$(timeout 60 python3 "$t/shim.py" "$t/epid" true "$NACRE" --platform="$PLATFORM" --root "$t/state" exec --detach --pid-file "$t/epid" a sh -c 'exit 3')"
is exec-detach-killed "exit 143" "$(timeout 60 python3 "$t/shim.py" "$t/epid" "kill \$(cat $t/epid)" "$NACRE" --platform="$PLATFORM" --root "$t/state" exec -d --pid-file "$t/epid" a sleep 100)"
timeout 60 python3 "$t/shim.py" "$t/epid" "kill -9 \$(cat $t/epid)" "$NACRE" --platform="$PLATFORM" --root "$t/state" exec -d --pid-file "$t/epid" a sleep 1000 >/dev/null
until_is 'N ps a | grep -c "sleep"' 0 || until_is 'N exec a sh -c "cat /proc/*/cmdline" | grep -c 1000' 0; is exec-hangup-kills 0 "$(N exec a sh -c 'for p in /proc/[0-9]*; do cat $p/cmdline; done' | tr '\0' ' ' | grep -c 'sleep 1000 *$')"
is ps-first "$(N state a | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')" "$(N ps --format json a | python3 -c 'import json,sys; print(json.load(sys.stdin)[0])')"
# pause
bundle "$t/c" 'i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); [ $((i%1000)) = 0 ] && echo $i; done; sleep 100'
N run --detach --bundle "$t/c" p >"$t/n" 2>&1; is run-detach "0 running" "$? $(st p)"
N pause p; is pause "0 paused" "$? $(st p)"
a=$(wc -c <"$t/n"); sleep 0.3; is paused-stands-still "$a" "$(wc -c <"$t/n")"
fails exec-paused "cannot exec in a paused container" N exec p true
fails pause-twice "not running" N pause p
N resume p; is resume "0 running" "$? $(st p)"
until_is '[ $(wc -c <"$t/n") -gt $a ]; echo $?' 0; is goes-on 0 $?
N pause p; N delete --force p; is delete-force-paused 0 $?
fails resume-missing "container does not exist" N resume p

# Its end.
N wait a >"$t/wait" & w=$!
sleep 0.2
N kill a TERM; wait $w; is wait 7 "$(cat "$t/wait")"
until_is 'st a' stopped; is stopped stopped "$(st a)"
is wait-stopped 7 "$(N wait a)"
fails start-stopped "cannot start a container that has stopped" N start a
fails exec-stopped "cannot exec in a stopped container" N exec a true
fails kill-stopped "container not running" N kill a KILL
N delete a; is delete "0 0" "$? $(ls "$t/state" | wc -l)"
for c in state start delete resume; do fails "$c-missing" "container does not exist" N $c nobody; done
fails kill-missing "container does not exist" N kill nobody KILL
N delete --force nobody; is delete-force-missing 0 $?

# What an engine sees of the pid.
bundle "$t/x" 'exit 42'
is exit-status-of-pid "exit 42" "$(timeout 60 python3 "$t/shim.py" "$t/pid" "$NACRE --root $t/state start x" "$NACRE" --platform="$PLATFORM" --root "$t/state" create --bundle "$t/x" --pid-file "$t/pid" x)"
bundle "$t/y" 'sleep 100'
is killed-status-of-pid "exit 137" "$(timeout 60 python3 "$t/shim.py" "$t/pid" "$NACRE --root $t/state start y; $NACRE --root $t/state kill --all y 9" "$NACRE" --platform="$PLATFORM" --root "$t/state" create --bundle "$t/y" --pid-file "$t/pid" y)"
is kill-created "exit 143" "$(timeout 60 python3 "$t/shim.py" "$t/pid" "$NACRE --root $t/state kill z TERM" "$NACRE" --platform="$PLATFORM" --root "$t/state" create --bundle "$t/y" --pid-file "$t/pid" z)"
for i in x y z; do N delete "$i"; done; is all-deleted 0 "$(ls "$t/state" | wc -l)"
N create --bundle "$b" d >/dev/null 2>&1; N delete d; is delete-created "0 0" "$? $(ls "$t/state" | wc -l)"

# Errors of the start.
bundle "$t/bad" true "c['process']['args']=['/no/such']"
N create --bundle "$t/bad" --pid-file "$t/nopid" bad 2>"$t/err"; is create-missing-program "1 1 0" "$? $(grep -c 'no such file or directory' "$t/err") $(ls "$t/state" | wc -l)"
[ ! -e "$t/nopid" ]; is no-pid-file 0 $?
N --log "$t/log" --log-format json create --bundle "$t/bad" bad 2>/dev/null; is json-log error "$(tail -n 1 "$t/log" | python3 -c 'import json,sys; print(json.loads(sys.stdin.read())["level"])')"

# A supervisor that is killed: stopped, and can be deleted.
N run -d --bundle "$b" --pid-file "$t/pid" k >/dev/null 2>&1
kill -9 "$(cat "$t/pid")"
until_is 'st k' stopped; is supervisor-killed stopped "$(st k)"
fails kill-after "container not running" N kill k TERM
N delete k; is delete-after-kill "0 0" "$? $(ls "$t/state" | wc -l)"
N run -d --bundle "$b" --pid-file "$t/pid" k >/dev/null 2>&1
kill -STOP "$(cat "$t/pid")"
until_is 'ps -o stat= -p "$(cat "$t/pid")" | cut -c 1' T
is state-stopped-supervisor running "$(st k)"
fails exec-stopped-supervisor "is stopped" N exec k true
fails kill-stopped-supervisor "is stopped" N kill k TERM
N kill k KILL; is kill-9-stopped-supervisor 0 $?
until_is 'st k' stopped; is stopped-supervisor-killed stopped "$(st k)"
N delete k; is delete-stopped-supervisor "0 0" "$? $(ls "$t/state" | wc -l)"
f=/sys/fs/cgroup/freezer/nacre-test-$$
if [ -w "${f%/*}/cgroup.procs" ] && mkdir "$f"; then # one that somebody else has frozen
    N run -d --bundle "$b" --pid-file "$t/pid" k >/dev/null 2>&1
    cat "$t/pid" >"$f/cgroup.procs"; echo FROZEN >"$f/freezer.state"
    until_is 'cat "$f/freezer.state"' FROZEN
    is list-frozen-supervisor 1 "$(N list | grep -c running)"
    echo THAWED >"$f/freezer.state"
    N delete --force k; is delete-thawed-supervisor "0 0" "$? $(ls "$t/state" | wc -l)"
    until_is 'rmdir "$f"; [ -e "$f" ] || echo gone' gone
fi
N run -d --bundle "$b" --pid-file "$t/pid" k >/dev/null 2>&1
kill -STOP "$(cat "$t/pid")"
( sleep 1; kill -CONT "$(cat "$t/pid")" ) &
N delete --force k; is delete-force-slow "0 0" "$? $(ls "$t/state" | wc -l)"
wait

# Many at once, and several commands on one.
for i in $(seq 20); do N run -d --bundle "$b" "m$i" >/dev/null 2>&1 & done; wait
is twenty 20 "$(N list | grep -c running)"
for i in $(seq 20); do N delete -f "m$i" & done; wait
is twenty-deleted 0 "$(ls "$t/state" | wc -l)"
for i in $(seq 6); do (N create --bundle "$b" same >/dev/null 2>&1 && echo won) & done >"$t/won"; wait
is one-create-wins 1 "$(grep -c won "$t/won")"
for i in $(seq 6); do (N start same 2>/dev/null && echo won) & done >"$t/won"; wait
is one-start-wins 1 "$(grep -c won "$t/won")"
for i in $(seq 6); do N delete --force same & done; wait
is concurrent-delete 0 "$(ls "$t/state" | wc -l)"

# A storm of everything on one id: whatever the order, nothing hangs and nothing stays.
for k in $(seq 6); do
    for i in $(seq 15); do
        case $((RANDOM % 9)) in
        0 | 1) N create --bundle "$b" storm ;; 2 | 3) N start storm ;; 4) N kill storm KILL ;; 5) N delete -f storm ;;
        6) N state storm ;; 7) N exec storm true ;; 8) N pause storm; N resume storm ;;
        esac
    done >/dev/null 2>>"$t/storm" &
done
wait
N delete -f storm; is storm-nothing-left "0 0" "$? $(ls "$t/state" | wc -l)"
is storm-errors "" "$(grep -vE 'does not exist|already exists|being created|not running|not paused|stopped|already running|is paused|paused container|does not answer|was killed' "$t/storm" | head -n 3)"
for i in $(seq 100); do pgrep -f "root $t/state" >/dev/null || break; sleep 0.05; done
is storm-no-process "" "$(pgrep -f "root $t/state" | tr '\n' ' ')"

# Terminals.
bundle "$t/tty" 'stty -echo; echo ready; read x; echo "got $x"; stty size' "c['process']['terminal']=True; c['process']['consoleSize']={'height':33,'width':77}"
python3 "$t/console.py" "$t/sock" 'word\n' >"$t/o" & c=$!
until [ -S "$t/sock" ]; do sleep 0.05; done
N run -d --bundle "$t/tty" --console-socket "$t/sock" tty 2>"$t/err"; is console 0 $?
wait $c; is console-output "ready got word 33 77" "$(tr '\n' ' ' <"$t/o" | sed 's/ $//')"
N delete -f tty; rm -f "$t/sock"
bundle "$t/tty" 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.1; done' "c['process']['terminal']=True"
python3 "$t/console.py" "$t/sock" '\x03' >"$t/o" & c=$!
until [ -S "$t/sock" ]; do sleep 0.05; done
N run -d --bundle "$t/tty" --console-socket "$t/sock" tty; wait $c
is console-interrupt 1 "$(grep -c interrupted "$t/o")"
N delete -f tty; rm -f "$t/sock"
N run -d --bundle "$b" e >/dev/null 2>&1
python3 "$t/console.py" "$t/sock" 'w\n' >"$t/o" & c=$!
until [ -S "$t/sock" ]; do sleep 0.05; done
N exec -d -t --console-socket "$t/sock" e sh -c 'stty -echo; echo ready; read x; echo "got $x"'; wait $c
is exec-console "ready got w" "$(tr '\n' ' ' <"$t/o" | sed 's/ $//')"
N delete -f e
fails tty-without-console "console socket" N run -d --bundle "$t/tty" n
fails console-without-tty "console socket" N create --bundle "$b" --console-socket /x n
N features | python3 -c 'import json,sys; json.load(sys.stdin)'; is features 0 $?
is nothing-left 0 "$(ls "$t/state" | wc -l)"
exit $status
