#!/bin/bash
# Replays of what went wrong in other runtimes: leaked descriptors and working directories
# (CVE-2024-21626), the runtime's own binary (CVE-2019-5736), mount destinations through symbolic
# links (CVE-2021-30465), masked paths and sysctls through links (CVE-2025-31133, 52565, 52881).
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
(cd "$b" && "$NACRE" spec)
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
