#!/bin/bash
# process.terminal in the foreground, when not all standard streams are the caller's terminal: the
# program has a terminal of its own, and nothing of what it says is lost. Without any: runc's error.
. "$(dirname "$0")/lib.sh.inc"
work_dir terminal
b=$t/b
mkdir -p "$b/rootfs/bin"
cp "$(command -v busybox)" "$b/rootfs/bin/busybox"
for a in sh cat stty tty seq sleep; do ln -s busybox "$b/rootfs/bin/$a"; done
(cd "$b" && "$NACRE" spec)
is spec-terminal true "$(python3 -c 'import json,sys; print(str(json.load(open(sys.argv[1]))["process"]["terminal"]).lower())' "$b/config.json")"
args() { # SCRIPT
    python3 - "$b/config.json" "$1" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['args'] = ['sh', '-c', sys.argv[2]]
json.dump(c, open(p, "w"))
P
}
# On a controlling terminal of 31 x 71, with standard input and output as said: in: the terminal, a pipe
# with text, or /dev/null; out: the terminal or a file. Prints that file or what the terminal showed, then
# the status. keys are typed once the program has said "ready".
cat >"$t/on_tty.py" <<'P'
import fcntl, os, pty, select, signal, struct, sys, termios, time
where_in, where_out, keys = sys.argv[1:4]
pid, fd = pty.fork()
if pid == 0:
    while termios.tcgetwinsize(0) != (31, 71): time.sleep(0.01)
    if where_in.startswith("text:"):
        r, w = os.pipe(); os.write(w, where_in[5:].encode().decode("unicode_escape").encode()); os.close(w); os.dup2(r, 0)
    elif where_in == "null": os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    if where_out != "tty": os.dup2(os.open(where_out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1); os.dup2(1, 2)
    os.execvp(sys.argv[4], sys.argv[4:])
termios.tcsetwinsize(fd, (31, 71))
shown, sent, end, st = b"", not keys, time.time() + 50, None
def read(): # at the end of the terminal, which may be for a moment only: false
    global shown
    if not select.select([fd], [], [], 0.02)[0]: return False
    try: d = os.read(fd, 65536)
    except OSError: time.sleep(0.02); return False
    shown += d
    return True
while st is None:
    if time.time() > end: os.kill(pid, 9)
    p, s = os.waitpid(pid, os.WNOHANG)
    if p: st = s
    while read(): pass
    text = shown if where_out == "tty" else open(where_out, "rb").read() if os.path.exists(where_out) else b""
    if not sent and b"ready" in text:
        sent = True
        if keys == "resize": termios.tcsetwinsize(fd, (20, 40))
        elif keys == "hangup": os.kill(pid, signal.SIGHUP)
        else: os.write(fd, keys.encode().decode("unicode_escape").encode())
text = shown if where_out == "tty" else open(where_out, "rb").read()
sys.stdout.write(text.decode().replace("\r", "") + "status %d\n" % os.waitstatus_to_exitcode(st))
P
T() { rm -f "$2"; timeout 60 python3 "$t/on_tty.py" "$1" "$2" "$3" "$NACRE" --platform="$PLATFORM" --root "$t/state" "${@:4}"; }
line() { tr '\n' ' ' | sed 's/ $//'; }

args 'for i in 0 1 2; do [ -t $i ] && echo $i; done; tty; stty size; exit 7'
is all-on-the-terminal "0 1 2 /dev/pts/0 31 71 status 7" "$(T tty tty '' run --bundle "$b" a | line)"
is output-to-a-file "0 1 2 /dev/pts/0 31 71 status 7" "$(T tty "$t/o" '' run --bundle "$b" a | line)"
is plain-lines 0 "$(grep -c $'\r' "$t/o")"
is input-from-null "0 1 2 /dev/pts/0 31 71 status 7" "$(T null "$t/o" '' run --bundle "$b" a | line)"
is both-elsewhere "0 1 2 /dev/pts/0 31 71 status 7" "$(T text: "$t/o" '' run --bundle "$b" a | line)"
args 'stty -echo; read x; echo "got $x"; read x; echo "got $x"'
is input-from-a-pipe "got one got two status 0" "$(T 'text:one\ntwo\n' "$t/o" '' run --bundle "$b" a | grep -vx 'one\|two' | line)"
args 'stty -echo; echo ready; read x; echo "got $x"'
is keys "ready got word status 0" "$(T tty "$t/o" 'word\r' run --bundle "$b" a | line)"
args 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.05; done'
is interrupt-by-key "ready ^Cinterrupted status 3" "$(T tty "$t/o" '\x03' run --bundle "$b" a | line)"
is interrupt-by-signal "ready interrupted status 3" "$(T null "$t/o" '\x03' run --bundle "$b" a | line)"
args 'trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done'
is resize "ready 20 40 status 0" "$(T tty "$t/o" resize run --bundle "$b" a | line)"
args 'trap "exit 5" HUP; echo ready; while :; do sleep 0.05; done'
is signal "ready status 5" "$(T tty "$t/o" hangup run --bundle "$b" a | line)"
args 'seq 100000 | cat; exit 4'
is nothing-lost "100001 100000 status 4" "$(T tty "$t/o" '' run --bundle "$b" a | tee "$t/all" | wc -l) $(tail -n 2 "$t/all" | line)"
is failed-start "1 status 1" "$(rm -f "$b/rootfs/bin/sh"; T tty "$t/o" '' run --bundle "$b" a | tee "$t/all" | grep -c 'executable file not found in \$PATH') $(tail -n 1 "$t/all")"
ln -s busybox "$b/rootfs/bin/sh"
setsid timeout 60 "$NACRE" --root "$t/state" run --bundle "$b" a </dev/null >"$t/o" 2>&1
is none-anywhere "1 1" "$? $(grep -c 'open /dev/tty: No such device or address' "$t/o")"
is state-removed "" "$(ls "$t/state")"

sed -i 's/"terminal": true/"terminal": false/' "$b/config.json"
args 'while :; do sleep 0.1; done'
N run -d --bundle "$b" e >"$t/err" 2>&1
x='for i in 0 1 2; do [ -t $i ] && echo $i; done; stty size; exit 7'
is exec-all "0 1 2 31 71 status 7" "$(T tty tty '' exec -t e sh -c "$x" | line)"
is exec-output "0 1 2 31 71 status 7" "$(T tty "$t/o" '' exec -t e sh -c "$x" | line)"
is exec-input "0 1 2 31 71 status 7" "$(T null "$t/o" '' exec -t e sh -c "$x" | line)"
is exec-key "ready ^Cinterrupted status 3" "$(T tty "$t/o" '\x03' exec -t e sh -c 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.05; done' | line)"
is exec-nothing-lost "100001 100000 status 4" "$(T tty "$t/o" '' exec -t e sh -c 'seq 100000 | cat; exit 4' | tee "$t/all" | wc -l) $(tail -n 2 "$t/all" | line)"
is exec-missing "1 status 255" "$(T tty "$t/o" '' exec -t e nothing | tee "$t/all" | grep -c 'executable file not found in \$PATH') $(tail -n 1 "$t/all")"
setsid timeout 60 "$NACRE" --root "$t/state" exec -t e true </dev/null >"$t/o" 2>&1
is exec-none "255 1" "$? $(grep -c 'open /dev/tty: No such device or address' "$t/o")"
is exec-plain "0 1" "$(N exec e sh -c '[ -t 0 ] || echo 0; [ -t 1 ] || echo 1' | line)"
N delete --force e
exit $status
