#!/bin/bash
# Real programs from Debian packages: the same output and exit status as on the host.
. "$(dirname "$0")/lib.sh.inc"
same true 'true'
same false 'false'
same exit-code 'exit 42'
same killed 'sh -c "kill -SEGV \$\$" 2>/dev/null; echo $?'
same echo 'echo hello; echo err >&2; printf "%s\n" "$0" "$PWD" | wc -l'
same pipeline 'seq 1 20000 | grep 7 | sort -rn | head -n 50 | md5sum'
same coreutils 'mkdir a b; touch a/x; ln -s x a/y; ln a/x b/z; ls a b; stat -c "%F %h %a" a/x a/y b; mv a/x b/w; cp -a a c; rm -r a; ls -R; du -a --apparent-size c | wc -l; df . >/dev/null; chmod 600 b/w; stat -c %a b/w; readlink c/y; basename /a/b; expr 3 \* 4; date -u -d @0; sleep 0.05; tee t <<<x; wc t; tr a-z A-Z <t; cut -c1 t; od -c t; dd if=/dev/zero bs=1k count=3 2>/dev/null | wc -c; truncate -s 10 u; stat -c %s u; env -i A=1 env; id -u; nproc >/dev/null; sha256sum /bin/true'
same shell-jobs 'sleep 0.1 & sleep 0.1 & wait; echo $?; (exit 3) & wait $!; echo $?; trap "echo term" TERM; kill -TERM $$; trap - TERM; echo done; diff <(echo a) <(echo b); cat <<<$(seq 5)'
same subshell-many 'for i in $(seq 100); do (exit $((i%3))) || :; done; x=$(for i in $(seq 50); do echo $i | cat; done | md5sum); echo $x'
same find 'find /usr -xdev | wc -l'
same find-stat 'find /usr/bin /usr/lib/python3 -xdev -printf "%p %m %s %l\n" 2>/dev/null | sort | md5sum'
same tar-gzip 'tar cf - -C /usr/share/doc . 2>/dev/null | gzip -1 >d.tgz; mkdir x; tar xzf d.tgz -C x; (cd x; find . -type f | sort | xargs -d "\n" sha256sum) | sha256sum; (cd /usr/share/doc; find . -type f | sort | xargs -d "\n" sha256sum) | sha256sum'
have xz && same xz 'tar cf - -C /usr/share/doc/bash . | xz -1 | xz -dc | tar tf - | sort | md5sum'
same sed-awk 'seq 1000 | sed -n "s/\(.\)\(.\)/\2\1/p" | awk "{s+=\$1} END {print s}"'
same proc-self 'cat /proc/self/comm; readlink /proc/self/cwd | wc -l; ls /proc/self/fd | grep -c "^[012]\$"; grep -c . /proc/self/status >/dev/null; head -c 4 /proc/self/exe | tail -c 3'
same dd-urandom 'head -c 100000 /dev/urandom | wc -c; head -c 10 /dev/zero | od -An -c; echo x >/dev/null; cat /dev/null'
PY=/usr/bin/python3
if [ -x $PY ]; then
    same python "$PY -c 'print(1)'"
    same python-threads "$PY -c '
import threading,queue
q=queue.Queue()
def w(i):
    for k in range(200): q.put(i*k)
ts=[threading.Thread(target=w,args=(i,)) for i in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
s=0
while not q.empty(): s+=q.get()
print(s)'"
    same python-subprocess "$PY -c '
import subprocess
print(subprocess.run([\"sh\",\"-c\",\"echo out; echo err >&2; exit 5\"],capture_output=True))
p=subprocess.Popen([\"cat\"],stdin=subprocess.PIPE,stdout=subprocess.PIPE)
print(len(p.communicate(b\"x\"*1000000)[0]))
print(sum(int(subprocess.check_output([\"echo\",str(i)])) for i in range(20)))'"
    same python-multiprocessing "$PY -c '
import multiprocessing as m
def f(x): return x*x
if __name__==\"__main__\":
    with m.Pool(3) as p: print(sum(p.map(f,range(100))))'"
    same python-asyncio-unix "$PY -c '
import asyncio,os
async def main():
    async def h(r,w):
        while (d:=await r.read(1000)): w.write(d); await w.drain()
        w.close()
    s=await asyncio.start_unix_server(h,\"s\")
    async def c(i):
        r,w=await asyncio.open_unix_connection(\"s\")
        n=0
        for k in range(30):
            w.write(b\"a\"*500); await w.drain(); n+=len(await r.readexactly(500))
        w.close(); return n
    print(sum(await asyncio.gather(*[c(i) for i in range(10)])))
    p=await asyncio.create_subprocess_exec(\"echo\",\"hi\",stdout=-1); print((await p.communicate())[0])
    s.close()
asyncio.run(main())'"
    same python-shared-mmap "$PY -c '
import mmap,os
f=open(\"m\",\"w+b\"); f.truncate(8192)
a=mmap.mmap(f.fileno(),8192); b=mmap.mmap(-1,4096)
p=os.fork()
if p==0:
    a[0:5]=b\"hello\"; b[0:3]=b\"abc\"; a.flush(); os._exit(0)
os.waitpid(p,0); print(a[0:5],b[0:3]); f.seek(0); print(f.read(5))
f.seek(4096); f.write(b\"zz\"); f.flush(); print(a[4096:4098])'"
    same python-signals "$PY -c '
import signal,time,os
n=0
def h(*a):
    global n; n+=1
signal.signal(signal.SIGALRM,h); signal.setitimer(signal.ITIMER_REAL,0.01,0.01)
while n<10: time.sleep(1)
signal.setitimer(signal.ITIMER_REAL,0)
try: os.kill(os.getpid(),signal.SIGINT); time.sleep(1)
except KeyboardInterrupt: print(\"int\")
print(n>=10)'"
    same python-tempfile-shutil "$PY -c '
import tempfile,shutil,os,pathlib,sqlite3
d=tempfile.mkdtemp(); pathlib.Path(d,\"a/b\").mkdir(parents=True); pathlib.Path(d,\"a/b/c\").write_text(\"x\"*5000)
shutil.copytree(d+\"/a\",d+\"/z\"); shutil.rmtree(d+\"/a\"); print(sorted(os.listdir(d))); shutil.rmtree(d)
c=sqlite3.connect(\"q.db\"); c.execute(\"create table t(a)\"); c.executemany(\"insert into t values(?)\",[(i,) for i in range(1000)]); c.commit(); print(c.execute(\"select sum(a) from t\").fetchone())'"
fi
have perl && same perl 'perl -e "my %h; \$h{\$_ % 7}++ for 1..10000; print join(q(,), map {qq(\$_=\$h{\$_})} sort keys %h), qq(\n); open(F,q(<),q(/etc/passwd)); print scalar(my @l=<F>)>0, qq(\n); print qx(echo sub); my \$p=fork; if(!\$p){exit 7} waitpid(\$p,0); print \$?>>8, qq(\n)"'
if have git; then
    same git 'export HOME=$PWD GIT_AUTHOR_DATE="2020-01-01T00:00:00Z" GIT_COMMITTER_DATE="2020-01-01T00:00:00Z"; git config --global user.email a@b; git config --global user.name n; git config --global init.defaultBranch main; git init -q r; cd r; for i in $(seq 60); do echo $i >f$i; done; git add .; git commit -qm one; echo x >>f1; git commit -qam two; git status --short; git log --format="%H %s"; cd ..; git clone -q r s; cd s; git log --format=%H | wc -l; git gc -q 2>&1; git fsck 2>&1; git diff HEAD~1 --stat'
fi
if have gcc; then
    same gcc 'printf "#include <stdio.h>\n#include <math.h>\nint main(int c,char**v){printf(\"%%d %%.3f\\\\n\",c,sqrt(c+1));return c;}" >a.c; gcc -O2 -Wall a.c -o a -lm && ./a x y; echo $?; gcc -static a.c -o b -lm && ./b; echo $?'
    have make && same make-j2 'printf "all: a b c d\n%%: %%.c\n\tgcc -O1 -o \$@ \$<\n" >Makefile; for f in a b c d; do echo "int main(){return 0;}" >$f.c; done; make -s -j2 && ./a && ./d && ls'
fi
if have sqlite3; then
    same sqlite-wal 'sqlite3 t.db "pragma journal_mode=wal; create table t(a,b); with recursive c(x) as (select 1 union all select x+1 from c where x<5000) insert into t select x,hex(x) from c; select count(*),sum(a) from t;"; for i in 1 2 3; do sqlite3 t.db "pragma busy_timeout=20000; insert into t values($i,$i);" >/dev/null & done; wait; sqlite3 t.db "select count(*) from t; pragma integrity_check;"'
fi
have redis-server && same redis 'redis-server --port 0 --unixsocket $PWD/r.sock --save "" --daemonize no --logfile $PWD/log >/dev/null 2>&1 & P=$!; for i in $(seq 100); do [ -S r.sock ] && break; sleep 0.05; done; redis-cli -s r.sock set a 1; redis-cli -s r.sock incr a; for i in $(seq 200); do echo "lpush l $i"; done | redis-cli -s r.sock | tail -n 1; redis-cli -s r.sock llen l; redis-cli -s r.sock shutdown nosave; wait $P; echo $?'
exit $status
