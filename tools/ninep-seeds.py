#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the 9P harnesses: single frames from the rows of ninep.def (test/corpus/ninep)
and short sessions (test/corpus/gofer). Deterministic; run from the top of the tree."""
import os, re, struct

FIXED = {'u8': 'B', 'u16': '<H', 'u32': '<I', 'u64': '<Q'}

def s(v):
    return struct.pack('<H', len(v)) + v

def field(kind, name):
    if kind in FIXED:
        v = {'msize': 65536, 'count': 4096, 'fid': 1, 'newfid': 2, 'mode': 0o644, 'afid': 0xffffffff}.get(name, 0)
        return struct.pack(FIXED[kind], v & (2 ** (8 * struct.calcsize(FIXED[kind])) - 1))
    qid = struct.pack('<BIQ', 0x80, 1, 2)
    attr = struct.pack('<III', 0o40755, 0, 0) + struct.pack('<15Q', *range(15))
    return {'str': s(b'9P2000.L' if name == 'version' else b'user.x'), 'name': s(b'f'),
            'names': struct.pack('<H', 2) + s(b'd') + s(b'f'), 'qid': qid,
            'qids': struct.pack('<H', 2) + qid * 2, 'attr': attr,
            'nodes': struct.pack('<H', 1) + qid + attr, 'data': struct.pack('<I', 4) + b'data'}[kind]

def frame(num, body, tag=1):
    return struct.pack('<IBH', 7 + len(body), num, tag) + body

text = re.sub(r'//.*', '', open('src/ninep/ninep.def').read())
rows = {m[0]: (int(m[1]), re.findall(r'F\((\w+), (\w+)\)', m[2]))
        for m in re.findall(r'MSG\((\w+), (\d+),((?:\s*F\([^)]*\))*\s*)\)', text)}

def msg(kind_, /, **kw):
    num, fields = rows[kind_]
    return frame(num, b''.join(kw[n] if n in kw else field(k, n) for k, n in fields))

def u32(v):
    return struct.pack('<I', v)

def names(*v):
    return struct.pack('<H', len(v)) + b''.join(s(x) for x in v)

def put(where, name, data):
    os.makedirs(where, exist_ok=True)
    with open(os.path.join(where, name), 'wb') as f:
        f.write(data)

for name in rows:
    put('test/corpus/ninep', name, msg(name))
start = msg('tversion', version=s(b'9P2000.L.nacre')) + msg('tattach', aname=s(b'0'))
put('test/corpus/gofer', 'plain', msg('tversion') + msg('tattach', aname=s(b'0')) + msg('twalk')
    + msg('tlopen', fid=u32(2)) + msg('tread', fid=u32(2)) + msg('tgetattr') + msg('tclunk', fid=u32(2)))
put('test/corpus/gofer', 'create', start + msg('tcreateopen', name=s(b'new')) + msg('twrite', fid=u32(2))
    + msg('tsetattrplus', fid=u32(2), valid=u32(1)) + msg('tunlinkat', name=s(b'new')))
put('test/corpus/gofer', 'dir', start + msg('twalkreaddir', newfid=u32(3), names=names(b'd')) + msg('twalkopen', names=names()) + msg('treaddirplus', fid=u32(2))
    + msg('treaddir', fid=u32(2)) + msg('tclunk', fid=u32(2)))
def data(v):
    return u32(len(v)) + v

tree = u32(0xffffffff) + struct.pack('<Q', 7) + s(b'd')
entry = struct.pack('<BIQ', 0x80, 1, 9) + struct.pack('<QBB', 1, 4, 0) + s(b'e')
put('test/corpus/ninep', 'tlisttree', msg('tlisttree', names=data(s(b'd') + s(b'e'))))
put('test/corpus/ninep', 'rlisttree', msg('rlisttree', data=data(tree + data(entry) + u32(0) + tree[4:] + data(b''))))
put('test/corpus/gofer', 'tree', start + msg('tlisttree', names=data(s(b'd') + s(b'f') + s(b'l')))
    + msg('tlisttree', count=u32(200), names=data(s(b'd'))) + msg('tlisttree', names=data(s(b'..'))))
put('test/corpus/gofer', 'make', start + msg('tmakenode', name=s(b'x'), mode=u32(0o40755))
    + msg('trenameat2', oldname=s(b'x'), newdirfid=u32(1), newname=s(b'y')) + msg('tlink', dfid=u32(1), name=s(b'z')))
put('test/corpus/gofer', 'xattr', start + msg('twalkgetattr') + msg('txattrset', fid=u32(2), name=s(b'user.a'))
    + msg('txattrget', fid=u32(2), name=s(b'user.a'), size=u32(100)) + msg('txattrwalk', fid=u32(2), newfid=u32(3)))
put('test/corpus/gofer', 'links', start + msg('twalkgetattr', names=names(b'l')) + msg('treadlink', fid=u32(2))
    + msg('twalkopen', newfid=u32(5), names=names(b'l', b'passwd')) + msg('twalkopen', newfid=u32(6), names=names(b'p')))
