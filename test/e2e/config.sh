#!/bin/bash
# config.json: user namespaces with id maps, devices, tmpfs options, capabilities that nobody knows,
# propagation, sysctls, what is refused and what is left out with a word.
. "$(dirname "$0")/lib.sh.inc"
work_dir config
chmod 755 "$t"
b=$t/b
mkdir -p "$b/rootfs/bin" "$t/vol"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh ls id cat touch mkdir chown stat df grep echo ln mknod hostname head wc; do ln -sf busybox "$b/rootfs/bin/$a"; done
(cd "$b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json)
cp "$b/config.json" "$t/config"
config() { # script python
    cp "$t/config" "$b/config.json"
    python3 - "$b/config.json" "$1" "$t" "$2" <<'P'
import json, sys
p, script, t = sys.argv[1:4]; c = json.load(open(p)); c['process']['args'] = ['sh', '-c', script]; c['root']['readonly'] = False
def ns(kind, **kw): c['linux']['namespaces'].append(dict({'type': kind}, **kw))
def caps(*names):
    for s in ('bounding', 'effective', 'permitted'): c['process']['capabilities'][s] += names
def mount(dest, type, source, *options): c['mounts'].append({'destination': dest, 'type': type, 'source': source, 'options': list(options)})
exec(sys.argv[4]); json.dump(c, open(p, "w"))
P
}
run() { N run --bundle "$b" "c$RANDOM" 2>"$t/err"; }

if [ "$(id -u)" = 0 ]; then
    chown -R 100000:200000 "$b/rootfs"; chmod 777 "$t/vol"; chmod 755 "$b"
    maps="ns('user'); c['linux']['uidMappings'] = [{'containerID': 0, 'hostID': 100000, 'size': 1000}]; c['linux']['gidMappings'] = [{'containerID': 0, 'hostID': 200000, 'size': 1000}]; caps('CAP_CHOWN'); mount('/vol', 'bind', t + '/vol', 'rbind')"
    touch "$t/vol/others"
    config 'stat -c "%u:%g" /bin /vol/others; touch /vol/f /vol/g; chown 5:6 /vol/f; stat -c "%u:%g" /vol/f /vol/g; chown 2000 /vol/g 2>/dev/null || echo refused' "$maps"
    is id-maps-inside "0:0 65534:65534 5:6 0:0 refused" "$(run | tr '\n' ' ' | sed 's/ $//')"
    is id-maps-outside "100005:200006 100000:200000" "$(echo $(stat -c '%u:%g' "$t/vol/f" "$t/vol/g"))"
    config 'cat /proc/self/status | grep -c .; (echo x >/vol/others) 2>/dev/null || echo denied' "$maps"
    chmod 600 "$t/vol/others"; is id-maps-rights denied "$(run | tail -n 1)"
    config : "ns('user'); c['linux']['uidMappings'] = [{'containerID': 0, 'hostID': 1, 'size': 0}]"
    run; is id-map-empty 1 "$(grep -c 'uidMappings\[0\]: size' "$t/err")"
    chown -R 0:0 "$b/rootfs"
fi

config 'stat -c "%F %t:%T %a %u:%g" /dev/mynull /new/dir/zero /dev/pipe /dev/null | tr "\n" ","; echo x >/new/dir/zero; ls /dev/nosuch 2>&1 | grep -c No' "c['linux']['devices'] = [{'path': '/dev/mynull', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 0o640, 'uid': 3, 'gid': 4}, {'path': '/new/dir/zero', 'type': 'c', 'major': 1, 'minor': 5}, {'path': '/dev/pipe', 'type': 'p', 'fileMode': 0o600}, {'path': '/dev/null', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 0o666}, {'path': '/dev/nosuch', 'type': 'c', 'major': 10, 'minor': 229}]"
is devices "character special file 1:3 640 3:4,character special file 1:5 666 0:0,fifo 0:0 600 0:0,character special file 1:3 666 0:0,1" "$(run)"
is device-left-out 1 "$(grep -c 'linux.devices\[4\]: /dev/nosuch (c 10:229) is left out' "$t/err")"

echo secret >"$b/rootfs/etc-file"
config 'cat /etc-file; echo lost >/etc-file; cat /etc-file; stat -c "%F %t:%T" /etc-file /deep/zero; head -c 3 /deep/zero | wc -c; cat /nodev 2>&1 | grep -c denied; ls /deep | grep -c fuse' "[mount(d, 'bind', h, 'bind', *o) for d, h, o in (('/etc-file', '/dev/null', ()), ('/deep/zero', '/dev/zero', ('ro',)), ('/nodev', '/dev/null', ('nodev',)))]"
is device-bound "character special file 1:3,character special file 1:5,3,1,0," "$(run | tr '\n' ,)"
is device-bound-over "secret" "$(cat "$b/rootfs/etc-file")"; rm -f "$b/rootfs/etc-file"
if [ -c /dev/mem ] || mknod "$t/mem" c 1 1 2>/dev/null; then
    [ -c "$t/mem" ] || ln -s /dev/mem "$t/mem"
    config 'ls /d; echo ran' "mount('/d/mem', 'bind', t + '/mem', 'bind')"; is device-bound-left-out ran "$(run | tail -n 1)"
    is device-bound-warned 1 "$(grep -c 'mounts\[[0-9]*\]: .*/mem at /d/mem is left out: a sandbox has no such device' "$t/err")"
fi
config 'df -k /t | grep -c 1024; stat -c "%a %u:%g" /t; n=0; while touch /t/f$n 2>/dev/null; do n=$((n+1)); [ $n = 50 ] && break; done; [ $n -lt 20 ] && echo limited' "mount('/t', 'tmpfs', 'tmpfs', 'size=1m', 'mode=1710', 'nr_inodes=10', 'uid=7', 'gid=8')"
is tmpfs-options "1 1710 7:8 limited" "$(run | tr '\n' ' ' | sed 's/ $//')"
config 'for m in ro noexec; do echo $m $(grep " /$m " /proc/mounts | cut -d" " -f4); done; (echo x >/ro/f) 2>/dev/null || echo read-only' "mount('/ro', 'tmpfs', 't', 'ro'); mount('/noexec', 'tmpfs', 't', 'noexec', 'nosuid', 'nodev')"
is mount-flags "read-only" "$(run | tail -n 1)"
for p in private rprivate shared rshared slave rslave unbindable runbindable; do
    config 'echo ran' "mount('/p', 'bind', t + '/vol', 'rbind', '$p'); c['linux']['rootfsPropagation'] = '$p'"
    is "propagation-$p" ran "$(run)"
done
config 'echo ran' "c['linux']['rootfsPropagation'] = 'upwards'"; run; is propagation-unknown 1 "$(grep -c 'rootfsPropagation: upwards' "$t/err")"
config 'echo ran' "caps('CAP_FROM_THE_FUTURE')"; is unknown-capability "ran" "$(run)"
is unknown-capability-warned 3 "$(grep -c 'unknown capability CAP_FROM_THE_FUTURE' "$t/err")"
config 'cat /proc/sys/kernel/msgmax; hostname; cat /proc/sys/kernel/domainname' "c['linux']['sysctl'] = {'kernel.msgmax': '4096'}; c['hostname'] = 'h1'; c['domainname'] = 'd1'"
is sysctl-and-names "4096 h1 d1" "$(echo $(run))"
config 'echo ran' "c['linux']['sysctl'] = {'net.ipv4.ip_forward': '1', 'net.ipv4.tcp_keepalive_time': '600', 'net.core.rmem_max': '1', 'net.no.such': '1'}"
is sysctl-net-left-out ran "$(run)"
config 'grep " /dev " /proc/mounts | cut -d" " -f1-3; stat -f -c %T /dev' "c['mounts'] = [m for m in c['mounts'] if m['destination'] != '/dev']; c['mounts'][0:0] = [{'destination': '/dev', 'type': 'tmpfs', 'source': 'mydev', 'options': ['nosuid', 'mode=755']}]"
is dev-is-tmpfs "mydev /dev tmpfs tmpfs" "$(echo $(run))"
config 'echo ran' "c['linux']['resources'] = {'network': {'classID': 7}}"; is net-class-ran ran "$(run)"
is net-class-warned 1 "$(grep -c 'linux.resources.network is not applied' "$t/err")"
config 'echo ran' "c['linux']['sysctl'] = {'kernel.no_such_thing': '1'}"; run; is sysctl-unknown 1 "$(grep -c 'linux.sysctl: kernel.no_such_thing' "$t/err")"
config 'cat /proc/self/oom_score_adj; ulimit -n; umask' "c['process']['oomScoreAdj'] = 321; c['process']['rlimits'] = [{'type': 'RLIMIT_NOFILE', 'soft': 77, 'hard': 88}]; c['process']['user']['umask'] = 0o27"
is process-values "321 77 0027" "$(echo $(run))"
for k in pid ipc uts user mount; do
    config 'echo ran' "c['linux']['namespaces'] = [n for n in c['linux']['namespaces'] if n['type'] != '$k']; ns('$k', path='/proc/1/ns/x')"
    run; is "join-$k" 1 "$(grep -c "joining a $k namespace" "$t/err")"
done
config 'echo ran' "c['unknown'] = {'deep': [1]}; c['linux']['unknown'] = True; c['process']['unknown'] = 1; c['windows'] = {}; c['linux']['intelRdt'] = {}"; is unknown-keys ran "$(run)"
config 'echo ran' "mount('/x', 'ext4', '/dev/sda1')"; run; is unknown-fs 1 "$(grep -c 'file system ext4 is not supported' "$t/err")"
config 'echo ran' "c['ociVersion'] = '3.0.0'"; run; is version 1 "$(grep -c 'ociVersion: 3.0.0' "$t/err")"
(cd "$t" && "$NACRE" spec --rootless); is spec-rootless "True False" "$(python3 -c 'import json; c=json.load(open("'"$t"'/config.json")); k=[n["type"] for n in c["linux"]["namespaces"]]; print("user" in k, "network" in k)')"
is nothing-left 0 "$(ls "$t/state" | wc -l)"
exit $status
