#!/bin/bash
# The command line: exit statuses as runc gives them, one clear line for each error.
. "$(dirname "$0")/lib.sh.inc"
t=$(mktemp -d /tmp/nacre-cli.XXXXXX)
trap 'rm -rf "$t"' EXIT
N="$NACRE --platform=$PLATFORM"
expect() { # name status pattern command...: exit status, and stderr is lines matching pattern
    local name=$1 want=$2 pat=$3
    shift 3
    timeout 60 "$@" >"$t/o" 2>"$t/e" </dev/null
    local st=$?
    if [ $st = "$want" ] && { [ -z "$pat" ] || grep -qE -- "$pat" "$t/e"; } && [ "$(wc -l <"$t/e")" -le 2 ]; then echo "ok $name"
    else echo "# status $st (want $want), stderr: $(head -n 3 "$t/e" | tr '\n' '|')"; echo "FAIL $name"; status=1; fi
}
expect true 0 '' $N do -- /bin/true
expect status-42 42 '' $N do -- /bin/sh -c 'exit 42'
expect killed-by-signal 139 '' $N do -- /bin/sh -c 'kill -SEGV $$'
expect missing-program 127 'no-such-program' $N do -- no-such-program
expect missing-path 127 'no/such' $N do -- /no/such/program
printf 'not a program\n' >"$t/plain"; chmod 644 "$t/plain"
expect not-executable 126 'plain' $N do -- "$t/plain"
expect directory 126 '/usr' $N do -- /usr
expect bad-user 1 'nosuchuser' $N do --user nosuchuser -- /bin/true
expect bad-cwd 1 'no/such' $N do --cwd /no/such -- /bin/true
expect bad-volume 1 'no/such' $N do --volume /no/such:/mnt -- /bin/true
expect bad-strace 1 'frobnicate' $N --strace=frobnicate do -- /bin/true
expect unknown-flag 1 'no-such-flag' $N do --no-such-flag -- /bin/true
expect unknown-global 1 'frobnicate' $NACRE --frobnicate do -- /bin/true
expect unknown-command 3 'frobnicate' $NACRE frobnicate
expect bad-platform 1 'quantum' $NACRE --platform=quantum do -- /bin/true
expect missing-bundle 1 'no/such/bundle' $N run --bundle /no/such/bundle x1
mkdir "$t/b"; echo '{"ociVersion": "1.0.2", "process": {' >"$t/b/config.json"
expect broken-json 1 'config.json' $N run --bundle "$t/b" x2
echo '{"ociVersion": "1.0.2"}' >"$t/b/config.json"
expect no-process 1 'process' $N run --bundle "$t/b" x3
expect bad-id 1 'id|ID' $N run --bundle "$t/b" '../x'
expect version 0 '' $NACRE --version
expect help 0 '' $NACRE help
[ "$($N do --env FOO=bar -- /bin/sh -c 'echo $FOO')" = bar ] && echo "ok env" || { echo "FAIL env"; status=1; }
# A kernel file system that another mount hides is no obstacle; one that is seen is covered.
hidden() { unshare -m sh -c 'mkdir -p "$1/h/p" "$1/s/p"; mount -t proc p "$1/h/p"; mount -t tmpfs h "$1/h"; mount -t proc p "$1/s/p"
    shift; exec "$@"' sh "$t" $N do -- sh -c "ls -A $t/h $t/s/p | tr '\n' ' '"; }
if [ "$(id -u)" = 0 ]; then
    r=$(hidden 2>&1); [ "$r" = "$t/h:  $t/s/p: " ] && echo "ok hidden-mount" || { echo "# $r"; echo "FAIL hidden-mount"; status=1; }
fi
[ "$($N do --cwd /usr -- /bin/pwd)" = /usr ] && echo "ok cwd" || { echo "FAIL cwd"; status=1; }
[ "$($N do --user 1234:99 -- /usr/bin/id -u)" = 1234 ] && echo "ok user" || { echo "FAIL user"; status=1; }
mkdir "$t/v"; echo content >"$t/v/f"
[ "$($N do --volume "$t/v:/mnt:ro" -- /bin/sh -c 'cat /mnt/f; echo x >/mnt/g 2>/dev/null || echo ro')" = $'content\nro' ] && echo "ok volume-ro" || { echo "FAIL volume-ro"; status=1; }
$N do --volume "$t/v:/mnt" -- /bin/sh -c 'echo new >/mnt/g; sync' && [ "$(cat "$t/v/g" 2>/dev/null)" = new ] && echo "ok volume-rw" || { echo "FAIL volume-rw"; status=1; }
$N do -- /bin/sh -c "echo changed >$t/v/f; cat $t/v/f" >/dev/null && [ "$(cat "$t/v/f")" = content ] && echo "ok overlay-is-thrown-away" || { echo "FAIL overlay-is-thrown-away"; status=1; }
[ "$(head -c 3000000 /dev/zero | $N do -- /bin/sh -c 'cat | cat' | wc -c)" = 3000000 ] && echo "ok stdio-pipe" || { echo "FAIL stdio-pipe"; status=1; }
$N do -- /bin/sh -c 'seq 100000' >"$t/file"; [ "$(md5sum <"$t/file")" = "$(seq 100000 | md5sum)" ] && echo "ok stdout-file" || { echo "FAIL stdout-file"; status=1; }
$N do -- /bin/sh -c 'seq 1000000' | head -n 1 >"$t/file"; [ "$(cat "$t/file")" = 1 ] && echo "ok stdout-closed-early" || { echo "FAIL stdout-closed-early"; status=1; }
$N do -- /bin/cat <&- >/dev/null 2>&1; echo "ok stdin-closed-does-not-hang"
$NACRE --platform="$PLATFORM" do -- /bin/sh -c 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done' >"$t/file" & p=$!
for i in $(seq 600); do grep -q ready "$t/file" && break; sleep 0.05; done
kill -TERM $p; wait $p; s=$?
[ $s = 7 ] && echo "ok signal-forwarded" || { echo "# $s"; echo "FAIL signal-forwarded"; status=1; }
$NACRE --strace do -- /bin/true 2>"$t/e"; grep -q 'execve\|exit_group' "$t/e" && echo "ok strace" || { echo "FAIL strace"; status=1; }
# What the stub answers of its own accord, it does not while somebody watches.
$NACRE --platform="$PLATFORM" --strace do -- python3 -c 'import os
for i in range(60): os.umask(18); os.getrandom(8); os.getpgrp()' 2>"$t/e"
n="$(grep -c '\] umask(022)' "$t/e") $(grep -c '\] getrandom(.*, 8, 0x0)' "$t/e") $(grep -c '\] getpgrp(' "$t/e")"
read -r a b c <<<"$n"; [ "$a" -ge 60 ] && [ "$b" -ge 60 ] && [ "$c" -ge 60 ] && echo "ok strace-sees-every-call" || { echo "# $n"; echo "FAIL strace-sees-every-call"; status=1; }
$NACRE syscalls --format=json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert len(d)>300' && echo "ok syscalls-json" || { echo "FAIL syscalls-json"; status=1; }
exit $status
