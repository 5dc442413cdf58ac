# Kubernetes' side of the CRI (runtime.v1), as much of it as the test needs: messages are tables of
# field numbers, which the API fixes; grpc carries the bytes.
import grpc, os, subprocess, sys, time

STR, INT, BYTES, BOOL = 'str', 'int', 'bytes', 'bool'
NAMESPACES = {'network': (1, INT), 'pid': (2, INT), 'ipc': (3, INT), 'target_id': (4, STR)}
POD, CONTAINER, NODE = 0, 1, 2
RESOURCES = {'period': (1, INT), 'quota': (2, INT), 'shares': (3, INT), 'memory': (4, INT), 'oom_score_adj': (5, INT),
             'cpus': (6, STR)}
SECURITY = {'privileged': (2, BOOL), 'namespaces': (3, NAMESPACES), 'readonly': (7, BOOL)}
META = {'name': (1, STR), 'uid': (2, STR), 'namespace': (3, STR), 'attempt': (4, INT)}
POD_CONFIG = {'metadata': (1, META), 'hostname': (2, STR), 'logs': (3, STR),
              'linux': (8, {'cgroup_parent': (1, STR), 'security': (2, {'namespaces': (1, NAMESPACES)})})}
CONTAINER_META = {'name': (1, STR), 'attempt': (2, INT)}
CONFIG = {'metadata': (1, CONTAINER_META), 'image': (2, {'image': (1, STR)}), 'command': (3, STR), 'args': (4, STR),
          'cwd': (5, STR), 'env': (6, {'key': (1, STR), 'value': (2, STR)}),
          'mounts': (7, {'inside': (1, STR), 'host': (2, STR), 'readonly': (3, BOOL)}), 'log': (11, STR), 'stdin': (12, BOOL),
          'tty': (14, BOOL), 'linux': (15, {'resources': (1, RESOURCES), 'security': (2, SECURITY)})}
U64 = {'value': (1, INT)}
STATUS = {'id': (1, STR), 'state': (3, INT), 'created': (4, INT), 'started': (5, INT), 'finished': (6, INT),
          'exit_code': (7, INT), 'reason': (10, STR), 'message': (11, STR)}
SANDBOX, ID = {'id': (1, STR)}, {'id': (1, STR)}
CALLS = { # name: request, answer
    'Version': ({'version': (1, STR)}, {'name': (2, STR)}),
    'RunPodSandbox': ({'config': (1, POD_CONFIG), 'handler': (2, STR)}, ID),
    'StopPodSandbox': (ID, {}), 'RemovePodSandbox': (ID, {}),
    'PodSandboxStatus': (ID, {'status': (1, {'id': (1, STR), 'state': (3, INT)})}),
    'ListPodSandbox': ({}, {'items': (1, [SANDBOX])}),
    'CreateContainer': ({'pod': (1, STR), 'config': (2, CONFIG), 'pod_config': (3, POD_CONFIG)}, ID),
    'StartContainer': (ID, {}), 'StopContainer': ({'id': (1, STR), 'timeout': (2, INT)}, {}), 'RemoveContainer': (ID, {}),
    'ListContainers': ({}, {'containers': (1, [ID])}),
    'ContainerStatus': (ID, {'status': (1, STATUS)}),
    'ExecSync': ({'id': (1, STR), 'cmd': (2, STR), 'timeout': (3, INT)}, {'out': (1, BYTES), 'err': (2, BYTES), 'code': (3, INT)}),
    'UpdateContainerResources': ({'id': (1, STR), 'linux': (2, RESOURCES)}, {}),
    'ContainerStats': (ID, {'stats': (1, {'cpu': (2, {'total': (2, U64)}), 'memory': (3, {'working_set': (2, U64)})})}),
}


def varint(n):
    n &= (1 << 64) - 1
    b = b''
    while n > 127:
        b, n = b + bytes([n & 127 | 128]), n >> 7
    return b + bytes([n])


def encode(fields, value):
    out = b''
    for k, v in value.items():
        number, kind = fields[k]
        for one in v if isinstance(v, list) else [v]:
            if kind in (INT, BOOL):
                out += varint(number << 3) + varint(int(one))
            else:
                b = one.encode() if kind == STR else one if kind == BYTES else encode(kind, one)
                out += varint(number << 3 | 2) + varint(len(b)) + b
    return out


def decode(fields, b):
    def number():
        nonlocal at
        n = shift = 0
        while True:
            c = b[at]
            at, n, shift = at + 1, n | (c & 127) << shift, shift + 7
            if c < 128:
                return n
    by = {f[0]: (k, f[1]) for k, f in fields.items()}
    out = {k: [] if isinstance(f[1], list) else 0 if f[1] in (INT, BOOL) else '' if f[1] == STR else b'' if f[1] == BYTES
           else decode(f[1], b'') for k, f in fields.items()}
    at = 0
    while at < len(b):
        tag = number()
        if tag & 7 == 2:
            n = number()
            v, at = b[at:at + n], at + n
        else:
            v = number() if tag & 7 == 0 else None
            at += {0: 0, 1: 8, 5: 4}[tag & 7]
        if tag >> 3 not in by:
            continue
        k, kind = by[tag >> 3]
        if kind == INT and v >= 1 << 63:
            v -= 1 << 64
        if isinstance(kind, list):
            out[k].append(decode(kind[0], v))
        else:
            out[k] = v.decode() if kind == STR else decode(kind, v) if isinstance(kind, dict) else v
    return out


class Client:
    def __init__(self, path):
        self.channel = grpc.insecure_channel('unix://' + path)

    def __getattr__(self, name):
        want, give = CALLS[name]
        call = self.channel.unary_unary('/runtime.v1.RuntimeService/' + name, request_serializer=lambda v: encode(want, v),
                                        response_deserializer=lambda b: decode(give, b))
        return lambda **v: call(v, timeout=60, wait_for_ready=True)
