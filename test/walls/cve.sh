#!/bin/bash
# Replays of what went wrong in other runtimes: leaked descriptors and working directories
# (CVE-2024-21626), the runtime's own binary (CVE-2019-5736), mount destinations through symbolic
# links (CVE-2021-30465), masked paths, /dev/console and sysctls through links (CVE-2025-31133, 52565,
# 52881), hooks with the container's environment and directory (CVE-2025-23266).
NACRE=${NACRE:?}
PLATFORM=${PLATFORM:-systrap}
status=0
ok() { echo "ok $1"; }
fail() { echo "# $2"; echo "FAIL $1"; status=1; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "is \"$2\", should be \"$3\""; fi; }
tmp=$(mktemp -d /tmp/nacre-cve.XXXXXX)
trap '[ $BASHPID = $$ ] && rm -rf "$tmp"' EXIT
N() { timeout 60 "$NACRE" --platform="$PLATFORM" --root "$tmp/state" "$@" </dev/null; }
b=$tmp/b
mkdir -p "$b/rootfs/bin" "$tmp/outside"
echo secret >"$tmp/outside/secret"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh ls cat readlink mount touch stat; do ln -s busybox "$b/rootfs/bin/$a"; done
(cd "$b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json)
cp "$b/config.json" "$tmp/config"
config() {
    cp "$tmp/config" "$b/config.json"
    python3 - "$b/config.json" "$1" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['root']['readonly'] = False; exec(sys.argv[2]); json.dump(c, open(p, "w"))
P
}
run() { N run --bundle "$b" "c$RANDOM" 2>&1; }

# Descriptors of the caller, open on a host directory.
config "c['process']['args']=['sh','-c','for i in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e /proc/self/fd/\$i ] && readlink /proc/self/fd/\$i; done; :']"
exec 7<"$tmp/outside" 19<"$tmp/outside"
is leaked-descriptors "" "$(run)"
for fd in 7 8 9 10 19; do
    config "c['process']['cwd']='/proc/self/fd/$fd'; c['process']['args']=['sh','-c','cat ./secret ../secret ../../../../$tmp/outside/secret']"
    run | grep -q secret$ && fail cwd-through-descriptor "fd $fd" || ok cwd-through-descriptor
done
exec 7<&- 19<&-

# The runtime's binary: /proc/self/exe as the program, and what init sees.
config "c['process']['args']=['/proc/self/exe','--version']"
run | grep -q 'nacre version' && fail exe-is-not-the-runtime "it ran" || ok exe-is-not-the-runtime
config "c['process']['args']=['sh','-c','readlink /proc/1/exe; (echo x >/proc/1/exe) 2>/dev/null; :']"
sum=$(md5sum <"$NACRE")
is exe-path /bin/busybox "$(run)"
is binary-unchanged "$sum" "$(md5sum <"$NACRE")"

# Links in the image at every place that the configuration names.
hostproc=$(ls -di /proc /sys /dev | md5sum)
rm -rf "$b/rootfs/proc" "$b/rootfs/vol" "$b/rootfs/sys" "$b/rootfs/dev"
ln -s "$tmp/outside" "$b/rootfs/proc"
ln -s "$tmp/outside" "$b/rootfs/vol"
ln -s ../../../../../../"$tmp/outside" "$b/rootfs/sys"
config "c['process']['args']=['sh','-c','cat /vol/secret /proc/secret; echo x >/vol/new; ls /vol']; c['mounts'].append({'destination':'/vol/deep/er','type':'tmpfs','source':'t'}); c['mounts'].append({'destination':'/vol2/a','type':'tmpfs','source':'t'})"
run | grep -q '^secret$' && fail linked-destination "the host's file was read" || ok linked-destination
is outside-untouched "secret" "$(ls "$tmp/outside")"
is host-mounts-untouched "$hostproc" "$(ls -di /proc /sys /dev | md5sum)"
rm "$b/rootfs/proc" "$b/rootfs/sys"
ln -s "$tmp/outside/secret" "$b/rootfs/masked"
config "c['linux']['maskedPaths']=['/masked','/dev/../masked']; c['linux']['readonlyPaths']=['/vol']; c['process']['args']=['sh','-c','cat /masked; :']"
run | grep -q '^secret$' && fail masked-link "read" || ok masked-link
for k in kernel/../../../../../../"$tmp"/outside/secret ../../../../"$tmp"/outside/secret; do
    config "c['linux']['sysctl']={'$k':'overwritten'}; c['process']['args']=['sh','-c',':']"
    run >/dev/null
    is sysctl-stays-inside secret "$(cat "$tmp/outside/secret")"
done

# The same while somebody swaps links and directories under the runtime (CVE-2021-30465, 2025-52881).
rm -rf "$b/rootfs/race" "$b/rootfs/a"; mkdir -p "$b/rootfs/race/deep"
( while [ -e "$tmp" ] && [ ! -e "$tmp/stop" ]; do
    mv -T "$b/rootfs/race" "$b/rootfs/race.dir" && ln -s "$tmp/outside" "$b/rootfs/race"
    rm -f "$b/rootfs/race"; mv -T "$b/rootfs/race.dir" "$b/rootfs/race"
done 2>/dev/null ) & swapper=$!
config "c['mounts'] += [{'destination':'/race','type':'tmpfs','source':'t'}, {'destination':'/race/deep/x','type':'tmpfs','source':'t'}]; c['linux']['maskedPaths']=['/race/secret']; c['linux']['readonlyPaths']=['/race']; c['process']['args']=['sh','-c','cat /race/secret 2>/dev/null; :']"
leaks=0
for i in 1 2 3 4 5 6 7 8; do run | grep -q '^secret$' && leaks=$((leaks + 1)); done
touch "$tmp/stop"; wait $swapper
is raced-destination 0 $leaks
is raced-outside-untouched "secret" "$(ls "$tmp/outside")"
rm -rf "$b/rootfs/race" "$b/rootfs/race.dir" "$tmp/stop"

# Masking with the image's /dev/null, terminals through its /dev/pts and /dev/console: links to files
# of the host must stay what they are, inside (CVE-2025-31133, CVE-2025-52565).
rm -rf "$b/rootfs/dev"; mkdir -p "$b/rootfs/dev"
ln -s "$tmp/outside/secret" "$b/rootfs/dev/null"
ln -s "$tmp/outside/secret" "$b/rootfs/dev/console"
ln -s "$tmp/outside" "$b/rootfs/dev/pts"
chmod 644 "$tmp/outside/secret"; touch -d @1000 "$tmp/outside/secret"
before=$(stat -c '%a %u %g %Y %s' "$tmp/outside/secret")
config "c['linux']['maskedPaths']=['/proc/sys/kernel/core_pattern','/proc/sysrq-trigger']; c['process']['args']=['sh','-c','cat /proc/sys/kernel/core_pattern; (echo b >/proc/sysrq-trigger) 2>/dev/null; (echo x >/dev/null) 2>/dev/null; cat /dev/console </dev/null 2>/dev/null; :']"
run | grep -q '^secret$' && fail masked-by-link "the host's file was read" || ok masked-by-link
config "c['mounts'] = [m for m in c['mounts'] if not m['destination'].startswith('/dev')]; c['linux']['maskedPaths']=['/proc/kcore','/bin/cat']; c['process']['args']=['sh','-c','cat /dev/null; cat /dev/pts/secret; echo x >/dev/null; :']"
run | grep -q '^secret$' && fail dev-of-the-image "the host's file was read" || ok dev-of-the-image
is dev-links-untouched "$before" "$(stat -c '%a %u %g %Y %s' "$tmp/outside/secret")"
config "c['process']['terminal']=True; c['process']['args']=['sh','-c','ls -l /dev/console /proc/self/fd/1']"
cat >"$tmp/console.py" <<'P'
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1); s.settimeout(20)
c, _ = s.accept()
data, anc, _, _ = c.recvmsg(4096, socket.CMSG_SPACE(4))
fd = array.array("i", anc[0][2])[0]
try:
    while os.read(fd, 4096): pass
except OSError: pass
P
python3 "$tmp/console.py" "$tmp/sock" & con=$!
until [ -S "$tmp/sock" ]; do sleep 0.05; done
N run -d --bundle "$b" --console-socket "$tmp/sock" con >/dev/null 2>&1
wait $con; N delete -f con
is console-links-untouched "$before" "$(stat -c '%a %u %g %Y %s' "$tmp/outside/secret")"
is console-outside-untouched "secret" "$(ls "$tmp/outside")"
rm -rf "$b/rootfs/dev"

# Labels and sysctls are not written to the host's procfs at all (CVE-2025-52881, CVE-2019-16884).
pattern=$(cat /proc/sys/kernel/core_pattern)
config "c['linux']['sysctl']={'kernel.core_pattern':'|/evil'}; c['process']['apparmorProfile']='docker-default'; c['process']['selinuxLabel']='x:y'; c['linux']['mountLabel']='z'; c['process']['args']=['sh','-c','echo ran']"
run >"$tmp/out"; is core-pattern "$pattern" "$(cat /proc/sys/kernel/core_pattern)"
config "c['process']['apparmorProfile']='docker-default'; c['process']['args']=['sh','-c','echo ran']"
is labels-warned "1 1" "$(run >"$tmp/out"; grep -c 'apparmorProfile: docker-default is not applied' "$tmp/out") $(grep -c '^ran' "$tmp/out")"

# Hooks: neither the container's environment nor its root as working directory (CVE-2025-23266).
printf '#!/bin/sh\necho loaded >%s/evil\n' "$tmp" >"$b/rootfs/hook.sh"; chmod 755 "$b/rootfs/hook.sh"
config "c['process']['env'] += ['LD_PRELOAD=./evil.so', 'PATH=/evil']; c['hooks']={'createContainer':[{'path':'/bin/sh','args':['sh','-c','pwd >$tmp/hook; env | grep -c LD_ >>$tmp/hook; ls /proc/self/fd | wc -l >>$tmp/hook']}]}; c['process']['args']=['sh','-c',':']"
exec 8<"$tmp/outside"; run >/dev/null; exec 8<&-
is hook-environment "$b 0 4" "$(tr '\n' ' ' <"$tmp/hook" | sed 's/ $//')"
config "c['hooks']={'createContainer':[{'path':'hook.sh'}]}"
run | grep -q 'expected an absolute path' && ok hook-relative || fail hook-relative "accepted"
config "c['hooks']={'startContainer':[{'path':'/hook.sh'}]}; c['process']['args']=['sh','-c',':']"
run >/dev/null; is guest-hook-stays-inside no "$([ -e "$tmp/evil" ] && echo yes || echo no)"

# exec in a container that has replaced its programs and its /proc: nothing of the host's is run or
# handed over (CVE-2019-5736, CVE-2016-9962).
config "c['process']['args']=['sh','-c','rm -f /bin/cat; printf \"#!/proc/self/exe\\n\" >/bin/cat; busybox chmod 755 /bin/cat; echo up; busybox sleep 60']"
N run -d --bundle "$b" ex >"$tmp/out" 2>&1
for i in $(seq 100); do grep -q up "$tmp/out" && break; sleep 0.05; done
sum=$(md5sum <"$NACRE")
exec 8<"$tmp/outside"
N exec ex cat 2>&1 | grep -qE "usage: nacre|nacre version" && fail exec-is-not-the-runtime "it ran" || ok exec-is-not-the-runtime
is exec-descriptors "0 1 2 3" "$(N exec ex busybox ls /proc/self/fd | tr '\n' ' ' | sed 's/ $//')"
N exec --cwd /proc/self/fd/8 ex busybox cat secret 2>&1 | grep -q '^secret$' && fail exec-cwd "read" || ok exec-cwd
exec 8<&-
is exec-binary-unchanged "$sum" "$(md5sum <"$NACRE")"
N delete -f ex

# The state directory: a link, somebody else's, open to others; ids that are paths.
mkdir -m 700 "$tmp/real"; ln -s "$tmp/real" "$tmp/link"
config "c['process']['args']=['sh','-c',':']"
timeout 20 "$NACRE" --root "$tmp/link" run --bundle "$b" x >/dev/null 2>&1 && fail state-link "accepted" || ok state-link
chmod 755 "$tmp/real"
timeout 20 "$NACRE" --root "$tmp/real" run --bundle "$b" x 2>&1 | grep -q 'closed to others' && ok state-mode || fail state-mode "accepted"
for id in ../x a/b . .. "a b"; do N run --bundle "$b" -- "$id" >/dev/null 2>&1 && fail "id $id" accepted || ok id; done
mkdir -p -m 700 "$tmp/state"; ln -s "$tmp/outside" "$tmp/state/linked"
N run --bundle "$b" linked >/dev/null 2>&1 && fail state-id-link "accepted" || ok state-id-link
is state-link-untouched secret "$(ls "$tmp/outside")"
rm "$tmp/state/linked"

# Sources: the host's procfs is refused, sysfs becomes read-only.
config "c['mounts'].append({'destination':'/hp','type':'bind','source':'/proc','options':['rbind']}); c['process']['args']=['sh','-c','ls /hp']"
run | grep -q procfs && ok bind-of-procfs || fail bind-of-procfs "accepted"
config "c['mounts'].append({'destination':'/hp','type':'bind','source':'/proc/sys/kernel','options':['rbind','ro']}); c['process']['args']=['sh','-c','ls /hp']"
run | grep -q procfs && ok bind-below-procfs || fail bind-below-procfs "accepted"
config "c['mounts'].append({'destination':'/hs','type':'bind','source':'/sys','options':['rbind']}); c['process']['args']=['sh','-c','touch /hs/kernel/x 2>&1; :']"
run | grep -qi 'read-only' && ok bind-of-sysfs || fail bind-of-sysfs "$(run | head -n 2)"

# Devices and set-id programs of a volume mean nothing.
if [ "$(id -u)" = 0 ]; then
    mkdir "$tmp/dev"
    mknod "$tmp/dev/zero" c 1 5
    mknod "$tmp/dev/disk" b 254 0
    config "c['mounts'].append({'destination':'/d','type':'bind','source':'$tmp/dev'}); c['process']['args']=['sh','-c','cat /d/disk | busybox head -c 1 | busybox wc -c']"
    is block-device 0 "$(run | tail -n 1)"
fi
exit $status
