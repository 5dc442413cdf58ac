#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the system call table with the host's headers and with the guest tests.

    tools/coverage.py NACRE [-v]

Errors (exit status 1): a number that the headers of this host know has no row; a FULL or PARTIAL row
is named in no test/guest/*.c (as a call of that name, of a wrapper below, or as SYS_name); an entry
below that is not needed. -v prints which tests name each call.
"""
import json
import pathlib
import re
import subprocess
import sys

# What the C library calls them. One of these in a guest test counts as a test of the call.
WRAPPERS = {
    "clone": ["pthread_create"],
    "exit": ["pthread_exit"],
    "exit_group": ["_exit"],
    "getdents64": ["readdir"],
    "newfstatat": ["fstatat", "lstat"],
    "pread64": ["pread"],
    "pwrite64": ["pwrite"],
    "prlimit64": ["prlimit"],
    "pselect6": ["pselect"],
    "rt_sigaction": ["sigaction"],
    "rt_sigpending": ["sigpending"],
    "rt_sigprocmask": ["sigprocmask", "pthread_sigmask"],
    "rt_sigqueueinfo": ["sigqueue"],
    "rt_sigsuspend": ["sigsuspend"],
    "rt_sigtimedwait": ["sigtimedwait", "sigwaitinfo"],
    "umount2": ["umount"],
    "wait4": ["waitpid"],
}
# No guest test names these, and why that is right.
EXCEPT = {
    "restart_syscall": "made by the kernel only: sigrestart.c sees its effect",
    "rt_sigreturn": "the end of every handler in signal.c and sigframe.c",
}
HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")


def host_calls():
    for header in HEADERS:
        if pathlib.Path(header).exists():
            text = pathlib.Path(header).read_text()
            return {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", text)}
    sys.exit("coverage: no asm/unistd_64.h here")


def code_of(path):
    """The file without comments and string literals."""
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', path.read_text())
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    rows = json.loads(subprocess.run([sys.argv[1], "syscalls", "--format=json"], check=True,
                                     capture_output=True).stdout)
    errors = []
    known = {r["number"] for r in rows}
    for number, name in sorted(host_calls().items()):
        if number not in known:
            errors.append(f"{name} ({number}) has no row in src/sys/*.def")

    used = {}  # identifier -> tests that call or name it
    for path in sorted((root / "test/guest").glob("*.c")):
        for name in set(re.findall(r"\b(?:SYS_|__NR_)?(\w+)\b", " ".join(
                re.findall(r"\b\w+(?=\s*\()|\b(?:SYS|__NR)_\w+", code_of(path))))):
            used.setdefault(name, []).append(path.stem)
    claimed = [r["name"] for r in rows if r["level"] in ("FULL", "PARTIAL")]
    for name in claimed:
        tests = sorted({t for n in [name] + WRAPPERS.get(name, []) for t in used.get(n, [])})
        if not tests and name not in EXCEPT:
            errors.append(f"{name} is in no guest test")
        if tests and name in EXCEPT:
            errors.append(f"{name} is excepted, but {tests[0]} names it")
        if "-v" in sys.argv:
            print(f"{name}: {' '.join(tests)}")
    for name in {*EXCEPT, *WRAPPERS}:
        if name not in claimed:
            errors.append(f"tools/coverage.py: {name} is no call of ours")
    print(*errors, sep="\n")
    print(f"coverage: {len(rows)} rows, {len(claimed)} claimed, {len(errors)} errors")
    return 1 if errors else 0


sys.exit(main())
