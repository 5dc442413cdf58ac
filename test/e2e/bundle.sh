#!/bin/bash
# OCI bundles: a static busybox, and a Debian minbase root made by debootstrap.
. "$(dirname "$0")/lib.sh.inc"
work_dir bundle
N="$NACRE --platform=$PLATFORM --root $t/state"
config() { # edits config.json of bundle $1 with the Python statements in $2 (c is the config)
    python3 - "$1/config.json" "$2" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); exec(sys.argv[2]); json.dump(c, open(p, "w"))
P
}
b=$t/bb; mkdir -p "$b/rootfs/bin" "$b/rootfs/etc"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh ls cat id mount hostname ps uname echo touch sleep df env pwd umask grep stat; do ln -s busybox "$b/rootfs/bin/$a"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$b/rootfs/etc/passwd"
(cd "$b" && $NACRE spec)
run() { config "$b" "c['process']['terminal']=False; c['process']['args']=['sh','-c',$1]"; timeout 60 $N run --bundle "$b" "t$RANDOM" 2>&1 </dev/null; }
is busybox-echo "hello" "$(run "'echo hello'")"
is busybox-hostname "box" "$(config "$b" "c['hostname']='box'"; run "'hostname'")"
is busybox-ps "sh" "$(run "'ps | grep -c . >/dev/null; cat /proc/1/comm; :'")"
is busybox-mounts "proc|/dev/pts|/sys" "$(run "'for m in proc /dev/pts /sys; do grep -q \$m /proc/mounts && echo \$m; done'" | tr '\n' '|' | sed 's/|$//')"
is root-readonly "ro" "$(config "$b" "c['root']['readonly']=True"; run "'touch /x 2>/dev/null || echo ro'")"
is root-writable "rw" "$(config "$b" "c['root']['readonly']=False"; run "'touch /x && echo rw'")"
# Without the overlay the root is the host's, too: what one side writes while both look is what the other reads.
echo 1 >"$b/rootfs/log"
config "$b" "c['process']['terminal']=False; c['process']['args']=['sh','-c','[ -e /made ] || cat /log; : >/ready; until [ -e /go ]; do sleep 0.05; done; cat /made; echo 3 >>/log; cat /log; echo kept >/new']"
timeout 60 $N --overlay=none run --bundle "$b" tover >"$t/over" 2>&1 </dev/null &
until_is '[ -e "$b/rootfs/ready" ] && echo ready' ready
echo made >"$b/rootfs/made"; echo 2 >>"$b/rootfs/log"; : >"$b/rootfs/go"
wait $!
is root-shared "1 made 1 2 3" "$(tr '\n' ' ' <"$t/over" | sed 's/ $//')"
is root-shared-kept "kept" "$(cat "$b/rootfs/new")"
(cd "$b/rootfs" && rm -f log made ready go new)
is user "uid=1000 gid=1001 groups=5" "$(config "$b" "c['process']['user']={'uid':1000,'gid':1001,'additionalGids':[5],'umask':0o27}"; run "'id; umask'" | sed -n 's/ *(.*//; 1p')"
is umask "0027" "$(run "'umask'")"
config "$b" "c['process']['user']={'uid':0,'gid':0}"
is env-cwd "V=1 /etc" "$(config "$b" "c['process']['env']=['PATH=/bin','V=1']; c['process']['cwd']='/etc'"; run "'echo V=\$V \$PWD'")"
config "$b" "c['process']['cwd']='/'"
is rlimit "77" "$(config "$b" "c['process']['rlimits']=[{'type':'RLIMIT_NOFILE','hard':77,'soft':77}]"; run "'ulimit -n'")"
config "$b" "c['process']['rlimits']=[]"
is capabilities "00000000a80425fb" "$(config "$b" "
l=['CAP_'+x for x in 'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE'.split()]
c['process']['capabilities']={k:l for k in ('bounding','effective','permitted')}"; run "'grep CapEff /proc/self/status'" | awk '{print $2}')"
is no-new-privs "1" "$(config "$b" "c['process']['noNewPrivileges']=True"; run "'grep NoNewPrivs /proc/self/status'" | awk '{print $2}')"
mkdir "$t/vol"; echo data >"$t/vol/f"
is bind-ro "data|ro" "$(config "$b" "c['mounts'].append({'destination':'/vol','type':'bind','source':'$t/vol','options':['rbind','ro']})"; run "'cat /vol/f; touch /vol/g 2>/dev/null || echo ro'" | tr '\n' '|' | sed 's/|$//')"
is tmpfs-size "yes" "$(config "$b" "c['mounts'].append({'destination':'/t','type':'tmpfs','source':'tmpfs','options':['size=64k','mode=1777']})"; run "'cat /bin/busybox >/t/x 2>/dev/null || echo yes'")"
run "'exit 9'" >/dev/null; is exit-status 9 $?
is state-removed "0" "$(ls "$t/state" 2>/dev/null | wc -l)"

if [ "$(id -u)" = 0 ] && have debootstrap; then
    cache=${NACRE_MINBASE:-/var/tmp/nacre-minbase}
    if [ ! -x "$cache/usr/bin/dpkg" ]; then
        rm -rf "$cache"
        debootstrap --variant=minbase bookworm "$cache" >"$t/debootstrap.log" 2>&1 || { echo "# debootstrap: $(tail -n 1 "$t/debootstrap.log")"; echo "FAIL debootstrap"; exit 1; }
    fi
    d=$t/deb; mkdir "$d"; (cd "$d" && $NACRE spec)
    config "$d" "c['root']={'path':'$cache','readonly':False}; c['process']['terminal']=False"
    drun() { config "$d" "c['process']['args']=['/bin/bash','-c',$1]"; timeout 120 $N run --bundle "$d" "d$RANDOM" 2>"$t/err" </dev/null; }
    is minbase-dpkg "$(chroot "$cache" dpkg -l | md5sum)" "$(drun "'dpkg -l'" | md5sum)"
    is minbase-bash "5050" "$(drun "'s=0; for i in {1..100}; do ((s+=i)); done; echo \$s'")"
    is minbase-apt "$(chroot "$cache" apt-config dump | md5sum)" "$(drun "'apt-config dump'" | md5sum)"
    is minbase-perl "6" "$(drun "'perl -e \"print 1+2+3\"'")"
fi
exit $status
