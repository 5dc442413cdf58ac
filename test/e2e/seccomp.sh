#!/bin/bash
# linux.seccomp of config.json: the profile runs inside the Sentry, on every process of the container.
. "$(dirname "$0")/lib.sh.inc"
work_dir seccomp
N="$NACRE --platform=$PLATFORM --root $t/state"
b=$t/bb; mkdir -p "$b/rootfs/bin" "$b/rootfs/proc"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh mkdir chmod kill true grep sleep uname; do ln -s busybox "$b/rootfs/bin/$a"; done
(cd "$b" && $NACRE spec)
profile() { # Python expression of the profile, shell script
    python3 - "$b/config.json" "$1" "$2" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c["root"]["readonly"] = False; c["linux"]["seccomp"] = eval(sys.argv[2])
c["process"]["terminal"] = False; c["process"]["args"] = ["sh", "-c", sys.argv[3]]
json.dump(c, open(p, "w"))
P
}
run() { profile "$1" "$2"; timeout 60 $N run --bundle "$b" "s$RANDOM" 2>&1 </dev/null; }
allow='"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]'

is status "2 1" "$(run "{$allow}" "grep -E '^Seccomp' /proc/self/status" | awk '{printf "%s%s", s, $2; s=" "}')"
is errno "mkdir: can't create directory '/x': No space left on device" "$(run "{$allow,'syscalls':[{'names':['mkdir','no_such_call'],'action':'SCMP_ACT_ERRNO','errnoRet':28}]}" 'mkdir /x')"
is errno-default "Operation not permitted" "$(run "{$allow,'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_ERRNO'}]}" 'mkdir /x' | sed 's/.*: //')"
rule="{'names':['chmod'],'action':'SCMP_ACT_ERRNO','errnoRet':5,'args':[{'index':1,'value':0o700,'op':'SCMP_CMP_EQ'}]}"
is argument "no yes" "$(run "{$allow,'syscalls':[$rule]}" 'mkdir /d; chmod 700 /d 2>/dev/null && echo -n "yes " || echo -n "no "; chmod 755 /d && echo -n yes')"
rule="{'names':['chmod'],'action':'SCMP_ACT_ERRNO','errnoRet':5,'args':[{'index':1,'value':0o700,'op':'SCMP_CMP_EQ'},{'index':1,'value':0o711,'op':'SCMP_CMP_EQ'}]}"
is alternatives "no no yes" "$(run "{$allow,'syscalls':[$rule]}" 'mkdir /d; for m in 700 711 755; do chmod $m /d 2>/dev/null && echo -n "yes " || echo -n "no "; done' | sed 's/ $//')"
rule="{'names':['chmod'],'action':'SCMP_ACT_ERRNO','errnoRet':5,'args':[{'index':1,'value':0o022,'valueTwo':0o022,'op':'SCMP_CMP_MASKED_EQ'}]}"
is masked "no yes" "$(run "{$allow,'syscalls':[$rule]}" 'mkdir /d; for m in 777 755; do chmod $m /d 2>/dev/null && echo -n "yes " || echo -n "no "; done' | sed 's/ $//')"
run "{$allow,'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_KILL_PROCESS'}]}" 'exec mkdir /x' >/dev/null; is kill 159 $?
run "{$allow,'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_TRAP'}]}" 'exec mkdir /x' >/dev/null; is trap 159 $?
# What a profile leaves out is refused; what is newer than all it names does not exist.
some="'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64'],'syscalls':[{'names':['read','write','open','openat','close','stat','fstat','lstat','newfstatat','mmap','mprotect','munmap','brk','rt_sigaction','rt_sigprocmask','rt_sigreturn','ioctl','execve','exit','exit_group','arch_prctl','set_tid_address','set_robust_list','rseq','prlimit64','getpid','getppid','getuid','getgid','geteuid','getegid','uname','getcwd','fcntl','dup2','fork','vfork','clone','wait4','readlink','getrandom','futex','poll','access','prctl','pipe','pipe2','kill','sysinfo','setpgid'],'action':'SCMP_ACT_ALLOW'}]"
is default-action "Operation not permitted" "$(run "{$some}" 'mkdir /x' | sed 's/.*: //')"
is allowed "Linux" "$(run "{$some}" 'uname')"
is notify-refused "1" "$(run "{'defaultAction':'SCMP_ACT_NOTIFY'}" true | grep -c 'SCMP_ACT_NOTIFY is not supported')"
is bad-action "1" "$(run "{'defaultAction':'SCMP_ACT_MAYBE'}" true | grep -c 'linux.seccomp.defaultAction: SCMP_ACT_MAYBE')"
is bad-flag "1" "$(run "{$allow,'flags':['NO_SUCH_FLAG']}" true | grep -c 'linux.seccomp.flags: NO_SUCH_FLAG')"
# exec starts under the same profile
profile "{$allow,'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_ERRNO','errnoRet':28}]}" 'sleep 60'
timeout 60 $N run --detach --bundle "$b" ex </dev/null >"$t/out" 2>&1
is exec "No space left on device" "$(timeout 30 $N exec ex mkdir /y 2>&1 | sed 's/.*: //')"
timeout 30 $N kill ex KILL; sleep 0.2; timeout 30 $N delete --force ex
is state-removed "0" "$(ls "$t/state" 2>/dev/null | wc -l)"
exit $status
