#!/usr/bin/env bash
# Loads with real programs, for bench/run.sh: loads.sh prepare DIR, once; then, natively and in a
# sandbox, loads.sh run LOAD DIR prints milliseconds: first and later, the smallest of two. A load
# whose program is missing prints nothing.
set -eu
names="find git-status sqlite make python redis"
have() { command -v "$1" >/dev/null; }

prepare() {
    mkdir -p "$1/src"
    if have git && [ ! -d "$1/repo" ]; then
        git init -q "$1/repo"
        (cd "$1/repo" && for d in $(seq 200); do mkdir "d$d"; for f in $(seq 100); do echo "$d $f" >"d$d/f$f"; done; done
         git -c core.fsync=none add . && git -c user.name=b -c user.email=b@b -c core.fsync=none commit -qm files)
    fi
    for i in $(seq 24); do
        printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int x) { return printf("%%d", x + %d); }\n' "$i" "$i" >"$1/src/f$i.c"
    done
    printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n%%.o: %%.c\n\tcc -O1 -c $< -o $@\n' >"$1/src/Makefile"
}

load() { # NAME DIR
    case $1 in
    find) find /usr -xdev ;;
    git-status) git -C "$2/repo" status --porcelain ;;
    sqlite)
        rm -f "$2/db"
        { echo 'create table t(a integer primary key, b text);'
          for i in $(seq 300); do echo "insert into t(b) values('row $i');"; done
          echo 'begin;'; for i in $(seq 20000); do echo "insert into t(b) values('row $i');"; done; echo 'commit;'
          for i in $(seq 2000); do echo "select b from t where a = $i;"; done; } >"$2/sql"
        sqlite3 "$2/db" 'pragma journal_mode=wal' && sqlite3 "$2/db" <"$2/sql" ;;
    make) make -C "$2/src" -s -B -j2 ;;
    python) for i in 1 2 3 4 5 6 7 8; do /usr/bin/python3 -c 'import json, subprocess, email.message, http.client'; done ;;
    redis)
        redis-server --port 0 --unixsocket "$2/sock" --save '' --daemonize no &
        local p=$!
        until redis-cli -s "$2/sock" ping; do sleep 0.05; done
        redis-benchmark -s "$2/sock" -t set,get -n 20000 -c 8 -q
        kill $p
        wait $p || true ;;
    esac
}

run() {
    case $1 in
    git-status) have git || return 0 ;;
    sqlite) have sqlite3 || return 0 ;;
    make) have make && have cc || return 0 ;;
    python) [ -x /usr/bin/python3 ] || return 0 ;;
    redis) have redis-server && have redis-benchmark || return 0 ;;
    esac
    local first= best= a b
    for i in 1 2 3; do
        a=$(date +%s%N)
        load "$1" "$2" >/dev/null 2>&1
        b=$((($(date +%s%N) - a) / 100000))
        [ -n "$first" ] || { first=$b; continue; }
        [ -n "$best" ] && [ "$best" -le "$b" ] || best=$b
    done
    printf '%s\t%d.%d\t%d.%d\n' "$1" $((first / 10)) $((first % 10)) $((best / 10)) $((best % 10))
}

case ${1:-} in
prepare) prepare "$2" ;;
names) echo $names ;;
run) mkdir -p "$3"; run "$2" "$3" ;;
*) echo "usage: loads.sh prepare DIR | names | run LOAD DIR" >&2; exit 2 ;;
esac
