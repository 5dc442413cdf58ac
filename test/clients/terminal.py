#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A person at a terminal: runs COMMAND on a new pty and follows the steps, in order.
#   terminal.py STEP... -- COMMAND...
# Steps: expect:TEXT (until it is printed, at most 20 s), send:TEXT (\r \n \x03 ... as in Python),
# size:ROWSxCOLS, sleep:SECONDS, close (the terminal goes away), eof (until the command ends).
# Prints everything that came, without carriage returns. Exit: the command's status, 99 for a step
# that failed.
import fcntl, os, pty, select, signal, struct, sys, termios, time

at = sys.argv.index('--')
steps, command = sys.argv[1:at], sys.argv[at + 1:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen, mark = b'', 0

def size(rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))

def more(seconds):
    global seen
    if not select.select([fd], [], [], seconds)[0]:
        return True
    try:
        b = os.read(fd, 65536)
    except OSError:
        return False
    seen += b
    return bool(b)

def fail(what):
    sys.stdout.write(seen.decode('utf-8', 'replace').replace('\r', ''))
    print('\n# pty: %s' % what)
    os.kill(pid, signal.SIGKILL)
    sys.exit(99)

size(24, 80)
for step in steps:
    kind, _, arg = step.partition(':')
    text = arg.encode().decode('unicode_escape').encode('latin-1')
    if kind == 'expect':
        end = time.time() + 20
        while text not in seen[mark:]:
            if time.time() > end or not more(0.2):
                if text in seen[mark:]:
                    break
                fail('did not see %r' % arg)
        mark = seen.index(text, mark) + len(text)
    elif kind == 'send':
        os.write(fd, text)
    elif kind == 'size':
        size(*map(int, arg.split('x')))
    elif kind == 'sleep':
        end = time.time() + float(arg)
        while time.time() < end:
            more(0.05)
    elif kind == 'close':
        os.close(fd)
    elif kind == 'eof':
        end = time.time() + 20
        while more(0.2):
            if time.time() > end:
                fail('no end')
    else:
        fail('unknown step %s' % step)
sys.stdout.write(seen.decode('utf-8', 'replace').replace('\r', ''))
sys.stdout.flush()
end = time.time() + 20
while time.time() < end:
    p, status = os.waitpid(pid, os.WNOHANG)
    if p:
        sys.exit(os.waitstatus_to_exitcode(status) & 0xff)
    time.sleep(0.02)
fail('the command does not end')
