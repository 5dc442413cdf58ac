#!/bin/bash
# exec: users by name and number, groups, capabilities, environment, working directory, descriptors,
# paused and created containers, statuses and texts as engines look for them.
. "$(dirname "$0")/lib.sh.inc"
work_dir exec
b=$t/b
mkdir -p "$b/rootfs/bin" "$b/rootfs/etc" "$b/rootfs/home/ann"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh cat echo id sleep env ls grep tr true; do ln -sf busybox "$b/rootfs/bin/$a"; done
printf '#!/bin/nosuch\n' >"$b/rootfs/bin/nointerp"; chmod 755 "$b/rootfs/bin/nointerp"
echo data >"$b/rootfs/bin/plain"; chmod 644 "$b/rootfs/bin/plain"
printf 'root:x:0:0::/root:/bin/sh\nann:x:1234:99::/home/ann:/bin/sh\n' >"$b/rootfs/etc/passwd"
printf 'root:x:0:\nstaff:x:99:\nwheel:x:10:ann\naudio:x:29:bob,ann\n' >"$b/rootfs/etc/group"
(cd "$b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json)
python3 - "$b/config.json" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['args'] = ['sleep', '1000']
c['process']['env'].append('FROM=config'); json.dump(c, open(p, "w"))
P
N create --bundle "$b" c >/dev/null 2>&1
is created-container "uid=0" "$(N exec c id | cut -d'(' -f1 | cut -d' ' -f1)"
N start c

# Users, as the container knows them.
ids() { N exec "$@" c id | sed 's/([a-z]*)//g'; }
is user-name "uid=1234 gid=99 groups=10,29" "$(ids --user ann | sed 's/groups=99,/groups=/')"
is user-name-group "uid=1234 gid=29" "$(ids --user ann:audio | cut -d' ' -f1,2)"
is user-name-number "uid=1234 gid=7" "$(ids -u ann:7 | cut -d' ' -f1,2)"
is user-number "uid=55 gid=0" "$(ids -u 55 | cut -d' ' -f1,2)"
is user-numbers "uid=55 gid=66" "$(ids -u 55:66 | cut -d' ' -f1,2)"
is user-home /home/ann "$(N exec -u ann c sh -c 'echo $HOME')"
is groups "uid=55 gid=66 groups=66,70,71" "$(ids -u 55:66 -g 70 --additional-gids 71 | sed 's/groups=70,71,66\|groups=70,71$/groups=66,70,71/')"
fails user-unknown "nobody-here" N exec -u nobody-here c true
fails group-unknown "nogroup-here" N exec -u ann:nogroup-here c true
is goes-on running "$(N state c | grep -o '"running"' | tr -d '"')"

# Environment, directory, capabilities.
is env-of-config "config x" "$(N exec -e NEW=x c sh -c 'echo $FROM $NEW')"
is env-replaced y "$(N exec --env FROM=y c sh -c 'echo $FROM')"
is cwd /home/ann "$(N exec --cwd /home/ann c sh -c 'pwd')"
is cap 1 "$(N exec --cap CAP_SYS_ADMIN c grep -c '^CapEff:.*00002[0-9a-f]*$' /proc/self/status)"
is cap-default "CapEff: 0000000020000420" "$(N exec c grep CapEff /proc/self/status | tr '\t' ' ')"
is no-caps-of-user "CapEff: 0000000000000000" "$(N exec -u ann c grep CapEff /proc/self/status | tr '\t' ' ')"
fails cap-unknown "CAP_NONE" N exec --cap CAP_NONE c true
python3 - "$b/config.json" "$t/p.json" <<'P'
import json, sys
p = json.load(open(sys.argv[1]))['process']
p.update(args=['sh', '-c', 'echo $A $(id -u) $(pwd) $(grep NoNewPrivs /proc/self/status | tr -dc 01)'], env=['PATH=/bin', 'A=file'], cwd='/home', user={'uid': 1234, 'gid': 99})
json.dump(p, open(sys.argv[2], 'w'))
P
is process-file "file 1234 /home 1" "$(N exec --process "$t/p.json" c)"
is process-file-short "file 1234 /home 1" "$(N exec -p "$t/p.json" c)"
echo '{"args":[],"cwd":"/"}' >"$t/bad.json"; fails process-empty "process.args" N exec --process "$t/bad.json" c
echo '{"args":["true"],"cwd":"x"}' >"$t/bad.json"; fails process-cwd "process.cwd" N exec --process "$t/bad.json" c

# What does not start, with the words that engines look for.
fails not-found 'exec: "nosuch": executable file not found in $PATH' N exec c nosuch
fails not-found-path 'exec: "/no/such": no such file or directory' N exec c /no/such
fails not-executable 'permission denied' N exec c /bin/plain
fails directory 'permission denied' N exec c /bin
fails no-interpreter 'no such file or directory' N exec c /bin/nointerp
fails not-a-directory 'not a directory' N exec c /bin/sh/x
fails bad-cwd '/nowhere' N exec --cwd /nowhere c true
fails no-args 'process args cannot be empty' N exec c
fails bad-flag 'unknown flag --frob' N exec --frob c true
N --log "$t/log" --log-format json exec c nosuch 2>/dev/null
is json-log "error True True" "$(tail -n 1 "$t/log" | python3 -c 'import json,sys,re; d=json.load(sys.stdin); print(d["level"], "executable file not found in $PATH" in d["msg"], bool(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", d["time"])))')"
echo first >"$t/log"; N --log "$t/log" exec c nosuch 2>/dev/null; is log-appends first "$(head -n 1 "$t/log")"

# Descriptors: none but those that are given.
exec 3<"$b/config.json" 4<"$t/p.json" 9<"$t/log"
is no-descriptors "0 1 2 3" "$(N exec c ls /proc/self/fd | tr '\n' ' ' | sed 's/ $//')"
is preserve-fds '{ 0 1 2 3 4 5' "$(N exec --preserve-fds 2 c sh -c 'read -n 1 x <&3; echo $x $(ls /proc/self/fd)' | sed 's/^{"[^ ]*/{/')"
is preserve-fds-detached "" "$(N exec --detach --preserve-fds=1 c true)"
exec 4<&-
fails preserve-closed "descriptor 4 is closed" N exec --preserve-fds 2 c true
is preserve-fds-40 44 "$(for i in $(seq 3 42); do eval "exec $i</dev/null"; done; N exec --preserve-fds 40 c ls /proc/self/fd | wc -l)"
fails preserve-many "at most" N exec --preserve-fds 1000 c true
cp -r "$b" "$t/f"; sed -i 's/"sleep", "1000"/"sh", "-c", "read -n 1 x <\&3; echo $x $(ls \/proc\/self\/fd)"/' "$t/f/config.json"
exec 3<"$b/config.json"
is run-preserve-fds "{ 0 1 2 3 4" "$(N run --preserve-fds 1 --bundle "$t/f" f)"
exec 3<&- 9<&-
N run --bundle "$t/f" f >/dev/null 2>"$t/err"; is run-without-fds 1 "$(grep -c 'fd: *3\|Bad file\|bad file\|3:' "$t/err")"

# Paused.
N pause c
fails paused "cannot exec in a paused container" N exec c true
N exec --ignore-paused c echo thawed >"$t/out" & w=$!
sleep 0.3; is ignore-paused-waits "" "$(cat "$t/out")"
N resume c; wait $w; is ignore-paused thawed "$(cat "$t/out")"

# Numbers for engines: processes of the host, the first that of the state.
N exec c sh -c 'echo $$; exec sleep 1001' >"$t/n" & w=$!
for i in $(seq 200); do [ "$(N ps c | grep -c sleep)" = 2 ] && break; sleep 0.05; done
is ps-json "2 True True" "$(N ps --format json c | python3 -c 'import json,os,sys; d=json.load(sys.stdin); print(len(d), all(os.path.exists("/proc/%d" % p) for p in d), d[0] == int(sys.argv[1]))' "$(N state c | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')")"
N exec c sh -c "kill $(cat "$t/n")"; wait $w

# Many at once; ones whose caller is killed.
for i in $(seq 30); do N exec c sh -c "exit $i" & echo "$! $i"; done >"$t/pids"
bad=0; while read -r p want; do wait "$p"; [ $? = "$want" ] || bad=$((bad + 1)); done <"$t/pids"; is thirty-at-once 0 $bad
for i in $(seq 5); do (timeout -s KILL 0.3 "$NACRE" --root "$t/state" exec c sleep 500 </dev/null; :) >/dev/null 2>&1; done
for i in $(seq 100); do [ "$(N ps c | grep -c sleep)" = 1 ] && break; sleep 0.05; done
is callers-killed 1 "$(N ps c | grep -c sleep)"
N kill c KILL; for i in $(seq 100); do N state c | grep -q stopped && break; sleep 0.05; done
fails stopped "cannot exec in a stopped container" N exec c true
fails missing "container does not exist" N exec nobody true
exit $status
