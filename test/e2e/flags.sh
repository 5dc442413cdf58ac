#!/bin/bash
# What callers of runc's command line rely on beside the lifecycle: where flags may stand, files that the
# shell opened, help, statuses of unknown things, what happens to containers that have stopped.
. "$(dirname "$0")/lib.sh.inc"
work_dir flags
b=$t/b
mkdir -p "$b/rootfs/bin" "$b/rootfs/full" "$b/rootfs/tmp"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh cat sleep stat echo true readlink; do ln -s busybox "$b/rootfs/bin/$a"; done
chmod 2750 "$b/rootfs/full"
(cd "$b" && "$NACRE" spec)
config() { # ARGS [python]
    python3 - "$b/config.json" "$@" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['terminal'] = False; c['process']['args'] = ['sh', '-c', sys.argv[2]]
exec(sys.argv[3] if len(sys.argv) > 3 else ''); json.dump(c, open(p, "w"))
P
}

# Flags behind the arguments, but for exec, whose arguments are the program's.
config 'while :; do sleep 0.1; done'
N create c --bundle "$b" --pid-file "$t/pid"; is flags-behind 0 $?
N start c
is exec-flags-are-the-programs "-n x" "$(N exec c echo -- -n x | sed 's/^-- //')"
is signal-zero 0 "$(N kill c 0; echo $?)"
is still-running running "$(st c)"

# A file by the number of a descriptor of the shell's: kept until it is read, not for the program.
echo '{"cwd":"/","args":["sh","-c","for f in /proc/self/fd/*; do readlink $f; done | grep -c nothing-of-mine; echo $MARK"],"env":["PATH=/bin","MARK=there"],"user":{"uid":0,"gid":0}}' >"$t/process"
is process-from-a-pipe there "$(N exec --process <(cat "$t/process") c | tail -n 1)"
is process-from-stdin-file there "$(N exec -p /proc/self/fd/7 c 7<"$t/process" | tail -n 1)"
is others-closed "ok" "$(echo mine >"$t/nothing-of-mine"; N exec --process <(cat "$t/process") c 9<"$t/nothing-of-mine" | grep -qx 0 && echo ok)"
fails process-closed "No such file" N exec --process /dev/fd/77 c

# Only the container's own cgroup.
is exec-cgroup-own 0 "$(N exec --cgroup / c true; echo $?)"
is exec-cgroup-own-of-one 0 "$(N exec --cgroup memory:/ c true; echo $?)"
fails exec-cgroup-above ".. is not a sub cgroup path" N exec --cgroup .. c true
fails exec-cgroup-below "not supported" N exec --cgroup below c true

# Two programs on one terminal of the caller's: the second has no controlling terminal, and runs. A key
# is for the one that is in the foreground of the caller's shell.
cat >"$t/twice.py" <<'P'
import os, pty, subprocess, sys, time
N = sys.argv[1:]
master, slave = pty.openpty()
def start(script): return subprocess.Popen(N + ["exec", "c", "sh", "-c", script], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
a = start("trap 'exit 9' INT; echo up; while :; do sleep 0.05; done"); print(a.stdout.readline().decode().strip())
b = start("trap 'exit 4' INT; echo up; while :; do sleep 0.05; done"); print(b.stdout.readline().decode().strip())
b.send_signal(2); print(b.wait(30))
print(a.poll()); a.send_signal(2); print(a.wait(30))
P
is exec-twice-on-a-terminal "up up 4 None 9 " "$(timeout 60 python3 "$t/twice.py" "$NACRE" --platform="$PLATFORM" --root "$t/state" | tr '\n' ' ')"

# Stopped.
N kill c KILL; until_is 'st c' stopped
is kill-all-stopped 0 "$(N kill --all c 0; echo $?)"
fails kill-stopped "container not running" N kill c 0
is ps-stopped "0 1" "$(N ps c >"$t/o"; echo $?) $(wc -l <"$t/o")"
is ps-stopped-json "null" "$(N ps --format json c)"
N delete c

# run --keep: state and status stay.
config 'exit 6'
is keep "6 stopped" "$(N run --keep --bundle "$b" k; echo $?) $(st k)"
fails keep-taken "already exists" N run --bundle "$b" k
is keep-delete "0 0" "$(N delete k; echo $?) $(ls "$t/state" | wc -l)"
config 'exit 6' "c['hooks'] = {'poststop': [{'path': '/bin/sh', 'args': ['sh', '-c', 'echo gone >>$t/hook']}]}"
is keep-poststop-waits "6 0" "$(N run --keep --bundle "$b" k; echo $?) $(cat "$t/hook" 2>/dev/null | wc -l)"
N delete k; is keep-poststop 1 "$(wc -l <"$t/hook")"

# A tmpfs has the mode of the directory that it hides, unless one is given; proc is no link's target.
tmpfs() { config "stat -c %a $1" "c.pop('hooks', 0); c['mounts'] = [m for m in c['mounts'] if m['source'] != 'mine'] + [{'destination': '$1', 'type': 'tmpfs', 'source': 'mine', 'options': [$2]}]"; N run --bundle "$b" m 2>&1; }
is tmpfs-mode 2750 "$(tmpfs /full '"nosuid"')"
is tmpfs-mode-no-options 2750 "$(tmpfs /full '')"
is tmpfs-mode-given 711 "$(tmpfs /full '"size=64k", "mode=711"')"
is tmpfs-mode-new 1777 "$(tmpfs /new '"nosuid"')"
ln -s /full "$b/rootfs/proc"
fails proc-on-a-link 'filesystem "proc" must be mounted on ordinary directory' N run --bundle "$b" m
rm "$b/rootfs/proc"

# Sources that the container's root could not reach on the host: they are opened for it.
if [ "$(id -u)" = 0 ]; then
    chmod a+rx "$t" "$b" "$b/rootfs" "$b/rootfs/bin"
    for i in 1 2; do mkdir -p "$t/closed$i/dir"; echo "file $i" >"$t/closed$i/dir/file"; chmod 755 "$t/closed$i/dir"; chmod 700 "$t/closed$i"; done
    config 'cat /m1/file /m2/file /f; echo x 2>/dev/null >/m1/new || echo denied' "c['linux']['namespaces'].append({'type': 'user'})
c['linux']['uidMappings'] = c['linux']['gidMappings'] = [{'containerID': 0, 'hostID': 100000, 'size': 65536}]
c['mounts'] += [{'destination': '/m%d' % i, 'type': 'bind', 'source': '$t/closed%d/dir' % i, 'options': ['rbind']} for i in (1, 2)] + [{'destination': '/f', 'type': 'bind', 'source': '$t/closed2/dir/file', 'options': ['bind', 'ro']}]"
    is mapped-closed-sources "file 1 file 2 file 2 denied" "$(N run --bundle "$b" u 2>&1 | tr '\n' ' ' | sed 's/ $//')"
fi

# Help, and what is not known.
is help-flag 0 "$("$NACRE" state -h | grep -c nothing; exit ${PIPESTATUS[0]})$([ -n "$("$NACRE" kill --help | grep -- --all)" ] || echo no)"
for c in checkpoint restore create events exec kill list pause ps restore resume run spec start state update delete; do "$NACRE" $c --help >"$t/o" 2>&1 && grep -q "usage: nacre" "$t/o" || echo "$c"; done >"$t/bad"
is help-of-all "" "$(cat "$t/bad")"
"$NACRE" frobnicate -h >"$t/o" 2>&1; is no-such-command "3 1" "$? $(grep -c "No help topic for 'frobnicate'" "$t/o")"
exit $status
