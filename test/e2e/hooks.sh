#!/bin/bash
# Hooks of all six kinds: order, namespaces, what they get and what they do not, failures, timeouts,
# and that pid in their state is the process whose network namespace is the container's.
. "$(dirname "$0")/lib.sh.inc"
work_dir hooks
b=$t/b
mkdir -p "$b/rootfs/bin"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh cat echo id sleep env ls touch true false; do ln -sf busybox "$b/rootfs/bin/$a"; done
(cd "$b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json)
cp "$b/config.json" "$t/config"
# Notes one line in the log: its kind and what the test asks of it (a shell snippet in $WHAT).
cat >"$t/hook" <<'H'
#!/bin/sh
state=$(cat)
field() { printf %s "$state" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
echo "$1 $(eval "$WHAT")" >>"$LOG"
H
chmod +x "$t/hook"
config() { # python
    cp "$t/config" "$b/config.json"
    python3 - "$b/config.json" "$t" "$1" <<'P'
import json, sys
p, t = sys.argv[1], sys.argv[2]; c = json.load(open(p)); c['process']['args'] = ['sh', '-c', 'echo program']
c['root']['readonly'] = False
KINDS = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop']
def hook(kind, what, **kw):
    c.setdefault('hooks', {}).setdefault(kind, []).append(dict({'path': t + '/hook', 'args': ['hook', kind], 'env': ['PATH=/usr/bin:/bin', 'LOG=' + t + '/log', 'WHAT=' + what]}, **kw))
exec(sys.argv[3]); json.dump(c, open(p, "w"))
P
    rm -f "$t/log"
}
log() { tr -s '\n ' '  ' <"$t/log" | sed 's/ $//'; }
all="prestart createRuntime createContainer poststart poststop"

# Order and state, over create, start, delete.
config "[hook(k, 'field status') for k in KINDS]"
N create --bundle "$b" a >"$t/out" 2>&1; is create 0 $?
is before-start "prestart creating createRuntime creating createContainer creating" "$(log)"
N start a; is start 0 $?
until [ "$(st a)" = stopped ]; do sleep 0.05; done
is poststart "poststart running" "$(tail -n 1 "$t/log")"
N delete a; is poststop "poststop stopped" "$(tail -n 1 "$t/log")"
is delete-once 1 "$(grep -c poststop "$t/log")"
# The same in the foreground and with --detach.
config "[hook(k, ':') for k in KINDS]; c['process']['args'] = ['sh', '-c', 'echo program; exit 6']"
is run-output program "$(N run --bundle "$b" r)"; is run-order "$all" "$(log)"
N run --bundle "$b" r >/dev/null; is run-status 6 $?
is run-nothing-left 0 "$(ls "$t/state" | wc -l)"
rm "$t/log"
N run -d --bundle "$b" r >/dev/null 2>&1; until [ "$(st r)" = stopped ]; do sleep 0.05; done; N delete r
is run-detach-order "$all" "$(log)"

# What they get: the bundle as working directory, their own environment alone, no descriptor, no
# variable of the container (CVE-2025-23266).
config "c['process']['env'] += ['LD_PRELOAD=/evil.so', 'SECRET=x']; [hook(k, 'echo \$(pwd) \$(env | grep -cE \"^(LD_|SECRET|LEAK)\") \$(ls /proc/self/fd | grep -cvE \"^[0-3]$\")') for k in KINDS]"
exec 9</etc/passwd
LEAK=1 N run --bundle "$b" e >/dev/null
exec 9<&-
is environment "$(for k in $all; do echo "$k $b 0 0"; done)" "$(cat "$t/log")"
config "hook('prestart', 'id -u; for f in id bundle ociVersion; do field \$f; echo; done; printf %s \"\$state\" | grep -c \"org.x\"'); c['annotations'] = {'org.x': 'y'}"
N run --bundle "$b" s1 >/dev/null; is state-fields "prestart $(id -u) s1 $b 1.2.0 1" "$(log)"

# The pid and its network namespace.
own=$(readlink /proc/self/ns/net)
config "[hook(k, 'echo \$(readlink /proc/\$(field pid)/ns/net) \$(readlink /proc/self/ns/net)') for k in KINDS[:4]]; c['process']['args'] = ['sleep', '100']"
N create --bundle "$b" n >/dev/null 2>&1; N start n
ns=$(readlink "/proc/$(N state n | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')/ns/net")
[ "$ns" != "$own" ]; is own-network 0 $?
is network-of-hooks "prestart $ns $own createRuntime $ns $own createContainer $ns $ns poststart $ns $own" "$(log)"
N delete -f n
if ip netns add "nacre-h$$" 2>/dev/null; then
    ns=$(ip netns exec "nacre-h$$" readlink /proc/self/ns/net)
    config "hook('createRuntime', 'readlink /proc/\$(field pid)/ns/net'); [x.update(path='/run/netns/nacre-h$$') for x in c['linux']['namespaces'] if x['type'] == 'network']"
    N run --bundle "$b" p >/dev/null; is network-by-path "createRuntime $ns" "$(log)"
    ip netns del "nacre-h$$"
fi
config "[x.update(path='$t/hook') for x in c['linux']['namespaces'] if x['type'] == 'network']"
is path-no-namespace 1 "$(N run --bundle "$b" p 2>&1 | grep -c 'is not a namespace')"
config "[x.update(path='/proc/self/ns/uts') for x in c['linux']['namespaces'] if x['type'] == 'network']"
is path-other-namespace 1 "$(N run --bundle "$b" p 2>&1 | grep -c 'is not a network namespace')"

# Failures stop the start; what was begun is taken back, and poststop says so.
for k in prestart createRuntime createContainer; do
    config "hook('$k', 'echo ran; exit'); c['hooks']['$k'].append({'path': '/bin/sh', 'args': ['sh', '-c', 'echo some; echo words >&2; exit 3']}); hook('$k', 'echo not-reached'); hook('poststop', 'field status')"
    N create --bundle "$b" f >"$t/out" 2>"$t/err"; is "$k-fails" "1 1 $k ran poststop stopped" "$? $(grep -c "error running $k hook #1: exit status 3, stdout: some.*stderr: words" "$t/err") $(log)"
    is "$k-nothing-left" 0 "$(ls "$t/state" | wc -l)"
done
config "c['hooks'] = {'poststart': [{'path': '/bin/false'}], 'poststop': [{'path': '/bin/false'}]}; hook('poststart', ':'); hook('poststop', ':')"
N create --bundle "$b" w >/dev/null 2>&1; N start w 2>"$t/err"; is poststart-warns "0 1" "$? $(grep -c 'poststart hook #0: exit status 1' "$t/err")"
until [ "$(st w)" = stopped ]; do sleep 0.05; done
N delete w 2>"$t/err"; is poststop-warns "0 1" "$? $(grep -c 'poststop hook #0' "$t/err")"
is others-run "poststart poststop" "$(log)"
config "c['hooks'] = {'prestart': [{'path': '/no/such/hook'}]}"
is missing-hook 1 "$(N create --bundle "$b" f 2>&1 | grep -c 'fork/exec /no/such/hook: No such file')"
config "c['hooks'] = {'createRuntime': [{'path': '/bin/sh', 'args': ['sh', '-c', 'sleep 100 & sleep 100'], 'timeout': 1}]}"
s=$SECONDS; N create --bundle "$b" f >"$t/out" 2>"$t/err"
is timeout "1 1" "$? $(grep -c 'past specified timeout of 1' "$t/err")"
[ $((SECONDS - s)) -lt 30 ]; is timeout-in-time 0 $?
config "c['hooks'] = {'createRuntime': [{'path': '/bin/sh', 'args': ['sh', '-c', 'kill -9 \$\$']}]}"
is hook-killed 1 "$(N create --bundle "$b" f 2>&1 | grep -c 'signal: Killed')"
# One that does not read its state, one that leaves a child with its output behind.
config "c['annotations'] = {'k%d' % i: 'v' * 1000 for i in range(300)}; c['hooks'] = {'prestart': [{'path': '/bin/true'}, {'path': '/bin/sh', 'args': ['sh', '-c', 'cat | wc -c >$t/size; sleep 3 & exit 0']}]}"
s=$SECONDS; is lazy-hooks program "$(N run --bundle "$b" l)"
[ "$(cat "$t/size")" -gt 300000 ]; is large-state 0 $?
# A command on a container whose hooks run.
config "hook('createRuntime', 'timeout 20 $NACRE --root $t/state state c | grep -o creating')"
N run --bundle "$b" c >/dev/null; is state-from-hook "createRuntime creating" "$(log)"
# Mounts of a createContainer hook below the root are the container's alone.
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$b/rootfs/mnt" "$t/data"; echo data >"$t/data/f"
    config "c['hooks'] = {'createContainer': [{'path': '/bin/mount', 'args': ['mount', '--bind', '$t/data', '$b/rootfs/mnt']}]}; c['process']['args'] = ['cat', '/mnt/f']"
    is hook-mount data "$(N run --bundle "$b" m)"
    is hook-mount-gone "" "$(ls "$b/rootfs/mnt")"
fi

# startContainer: a process of the container, in its files, before the program.
guest() { echo "c['hooks'] = {'startContainer': [{'path': '/bin/sh', 'args': ['sh', '-c', '''$1'''], 'env': ['PATH=/bin', 'A=hook']}]}"; }
touch "$t/outside"
config "$(guest 'cat >/state; ls / >/ls; env >/env; id -u >/uid'); c['process']['args'] = ['sh', '-c', 'cat /state; echo; cat /uid; cat /env; ls $t 2>&1 | head -n 1']; c['process']['user'] = {'uid': 0, 'gid': 0}"
N create --bundle "$b" g >"$t/out" 2>&1; is guest-hook-create "0 0" "$? $(wc -c <"$t/out")"
N start g; is guest-hook-start 0 $?
until [ "$(st g)" = stopped ]; do sleep 0.05; done
is guest-hook-state "created g" "$(head -n 1 "$t/out" | python3 -c 'import json,sys; d=json.load(sys.stdin); print(d["status"], d["id"])')"
is guest-hook-environment "A=hook" "$(grep -E '^[A-Z]+=' "$t/out" | grep -vE '^(PATH|PWD|SHLVL)=' | tr '\n' ' ' | sed 's/ $//')"
is guest-hook-inside 1 "$(grep -c 'No such file' "$t/out")"
N delete g
config "$(guest 'echo some; echo words >&2; exit 4')"
N create --bundle "$b" h >"$t/out" 2>&1; N start h 2>"$t/err"
is guest-hook-fails "1 1 0" "$? $(grep -c 'error running startContainer hook #0: exit status 4, stdout: some.*stderr: words' "$t/err") $(wc -c <"$t/out")"
until [ "$(st h)" = stopped ]; do sleep 0.05; done; is guest-hook-failed-stops stopped "$(st h)"; N delete h
config "$(guest 'head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2')" # more than anybody keeps
N run --bundle "$b" o >"$t/out" 2>"$t/err"; is guest-hook-output "0 0" "$? $(grep -c hook "$t/err")"
config "$(guest 'sleep 100'); c['hooks']['startContainer'][0]['timeout'] = 1"
N run --bundle "$b" i >"$t/out" 2>"$t/err"; is guest-hook-timeout "1 1 0" "$? $(grep -c 'past specified timeout' "$t/err") $(wc -c <"$t/out")"
config "c['hooks'] = {'startContainer': [{'path': '$t/hook'}]}"
N run --bundle "$b" j >/dev/null 2>"$t/err"; is host-program-is-not-there 1 "$(grep -c 'no such file' "$t/err")"
# Killed in the middle: nothing stays.
config "c['hooks'] = {'createRuntime': [{'path': '/bin/sleep', 'args': ['sleep', '2']}]}"
for i in 1 2 3; do (timeout -s KILL 0.3 "$NACRE" --root "$t/state" create --bundle "$b" "k$i" </dev/null; :) >/dev/null 2>&1; done
for k in 1 2 3; do until_is 'N delete -f "k$k" >/dev/null 2>&1; echo $?' 0; done # while its supervisor begins, it may not
until_is 'N list -q | wc -l' 0
is killed-in-hooks 0 "$(N list -q | wc -l)"
is nothing-left 0 "$(ls "$t/state" | wc -l)"
exit $status
