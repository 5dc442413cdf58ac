# What the kubelet does with a pod, step by step; run by cri.sh. Prints "ok NAME" and "FAIL NAME".
import json, os, sys, time, traceback
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from cri import Client, NODE, CONTAINER, POD

T, CG, PART = sys.argv[1:4]
cri = Client(T + '/run/cd.sock')
CREATED, RUNNING, EXITED = 0, 1, 2
LOOP = 'trap "exit 7" TERM; while :; do sleep 0.05; done'
failed = False


def same(name, want, have):
    global failed
    if want != have:
        print(f'# is {have!r}, should be {want!r}')
    print('ok' if want == have else 'FAIL', name, flush=True)
    failed |= want != have


def until(want, look):
    for _ in range(400):
        have = look()
        if have == want:
            break
        time.sleep(0.05)
    return have


def pod_config(name, pid=CONTAINER):
    return {'metadata': {'name': name, 'uid': 'uid-' + name, 'namespace': 'default'}, 'logs': f'{T}/logs/{name}',
            'linux': {'cgroup_parent': f'{CG}/{name}', 'security': {'namespaces': {'network': NODE, 'pid': pid}}}}


def start(pod, config, name, script, attempt=0, **resources):
    c = {'metadata': {'name': name, 'attempt': attempt}, 'image': {'image': 'docker.io/local/bb:1'}, 'command': ['sh', '-c', script],
         'log': f'{name}.{attempt}.log', 'linux': {'resources': resources, 'security': {'namespaces': config['linux']['security']['namespaces']}}}
    id = cri.CreateContainer(pod=pod, config=c, pod_config=config)['id']
    cri.StartContainer(id=id)
    return id


def status(id):
    return cri.ContainerStatus(id=id)['status']


def state(id):
    return status(id)['state']


def ended(id):
    until(EXITED, lambda: state(id))
    s = status(id)
    return s['state'], s['exit_code'], s['reason']


def sh(id, script):
    r = cri.ExecSync(id=id, cmd=['sh', '-c', script], timeout=30)
    return r['out'].decode().strip(), r['err'].decode().strip(), r['code']


def log(config, name, attempt=0):
    lines = open(f"{config['logs']}/{name}.{attempt}.log").read().splitlines()
    return [l.split(' ', 3)[1] + ' ' + l.split(' ', 3)[3] for l in lines]


def run_pod(name, **flags):
    config = pod_config(name, **flags)
    os.makedirs(config['logs'], exist_ok=True)
    return cri.RunPodSandbox(config=config, handler='nacre')['id'], config


def life():
    pod, config = run_pod('one')
    same('sandbox', 0, cri.PodSandboxStatus(id=pod)['status']['state'])
    a = start(pod, config, 'a', 'echo out; echo err >&2; ' + LOOP)
    b = start(pod, config, 'b', LOOP)
    same('members', (RUNNING, RUNNING), (state(a), state(b)))
    same('exec', ('in', 'no', 3), sh(a, 'echo in; echo no >&2; exit 3'))
    same('log', ['stderr err', 'stdout out'], until(['stderr err', 'stdout out'], lambda: sorted(log(config, 'a'))))
    same('own-files', ('', '', 0), sh(a, 'echo x >/only-a'))
    same('own-files-other', 1, sh(b, 'test -e /only-a')[2])
    same('own-pids', ('1', '', 0), sh(b, 'ls /proc | grep -c "^1$"'))

    # Ends: by itself, with a status; asked to; not listening.
    e = start(pod, config, 'e', 'exit 5')
    same('exit-code', (EXITED, 5, 'Error'), ended(e))
    cri.RemoveContainer(id=e)
    e = start(pod, config, 'e', 'true', 1)
    same('exit-0', (EXITED, 0, 'Completed'), ended(e))
    cri.RemoveContainer(id=e)
    cri.StopContainer(id=a, timeout=10)
    same('stop', (EXITED, 7, 'Error'), ended(a))
    same('others-live', RUNNING, state(b))
    cri.RemoveContainer(id=a)
    a = start(pod, config, 'a', LOOP, 1)
    same('restarted', ('in', '', 0), sh(a, 'echo in'))
    e = start(pod, config, 'e', 'trap "" TERM; while :; do sleep 0.05; done', 2)
    cri.StopContainer(id=e, timeout=1)
    same('stop-kill', (EXITED, 137, 'Error'), ended(e))
    cri.RemoveContainer(id=e)
    c = start(pod, config, 'c', 'exec /nope')
    same('not-found', (EXITED, 127), ended(c)[:2])
    cri.RemoveContainer(id=c)
    limits(pod, config, b)
    json.dump({'pod': pod, 'a': a, 'b': b, 'config': config}, open(T + '/pods.json', 'w'))


def limits(pod, config, other):
    eat = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'; "
    hungry = start(pod, config, 'h', eat + 'exit $?', memory=64 << 20)
    same('oom', (EXITED, 137, 'OOMKilled'), ended(hungry))
    same('oom-others-live', ('in', '', 0), sh(other, 'echo in'))
    same('oom-others-not-told', '', status(other)['reason'])
    cri.RemoveContainer(id=hungry)
    m = start(pod, config, 'm', LOOP, memory=96 << 20, quota=50000, period=100000, shares=512)
    used = lambda: cri.ContainerStats(id=m)['stats']['memory']['working_set']['value']
    same('stats-memory', True, 0 < used() < 96 << 20)
    same('stats-cpu', True, cri.ContainerStats(id=m)['stats']['cpu']['total']['value'] > 0)
    same('stats-exec', True, until(True, lambda: used() > 40 << 20) if hold(m) else 'not begun') # what its programs take is its own
    same('oom-exec', (137, RUNNING), (sh(m, eat + 'exit $?')[2], state(m)))
    cri.UpdateContainerResources(id=m, linux={'memory': 128 << 20, 'shares': 256})
    same('update', '134217728', file_of(m, 'memory', 'memory.limit_in_bytes', 'memory.max'))
    cri.StopContainer(id=m, timeout=0)
    cri.RemoveContainer(id=m)


def hold(id): # a process that keeps 50 MB
    return sh(id, 'dd if=/dev/zero bs=50M count=1 2>/dev/null | (sleep 1000; cat) >/dev/null 2>&1 & echo begun')[0] == 'begun'


def file_of(id, controller, v1, v2):
    name = f"{CG}/one/{id}"
    for path in (f'/sys/fs/cgroup/{controller}{name}/{v1}', f'/sys/fs/cgroup{name}/{v2}', f'/sys/fs/cgroup/unified{name}/{v2}'):
        if os.path.exists(path):
            return open(path).read().strip()


def again(): # the engine was killed and has come back
    was = json.load(open(T + '/pods.json'))
    pod, a, b, config = was['pod'], was['a'], was['b'], was['config']
    same('engine-restart', (0, RUNNING, RUNNING), (cri.PodSandboxStatus(id=pod)['status']['state'], state(a), state(b)))
    same('engine-restart-exec', ('in', '', 0), sh(a, 'echo in'))
    same('listed', sorted([a, b]), sorted(c['id'] for c in cri.ListContainers()['containers']))
    c = start(pod, config, 'c', 'exit 6')
    same('engine-restart-start', (EXITED, 6, 'Error'), ended(c))
    cri.RemoveContainer(id=c)
    cri.StopContainer(id=a, timeout=10)
    same('engine-restart-stop', (EXITED, 7, 'Error'), ended(a))
    cri.StopPodSandbox(id=pod) # with a member in it, which ends too
    same('pod-stopped', (1, EXITED), (cri.PodSandboxStatus(id=pod)['status']['state'], state(b)))
    cri.RemovePodSandbox(id=pod)
    same('removed', ([], []), (cri.ListPodSandbox()['items'], cri.ListContainers()['containers']))


def shared(): # process numbers are the pod's; two pods at once
    pod, config = run_pod('two', pid=POD)
    other, other_config = run_pod('three')
    a = start(pod, config, 'a', LOOP)
    b = start(pod, config, 'b', 'exec sleep 7777')
    c = start(other, other_config, 'c', LOOP)
    same('shared-pids', '1', sh(a, 'ps | grep -c "[s]leep 7777"')[0])
    same('other-pod', '0', sh(c, 'ps | grep -c "[s]leep 7777"')[0])
    cri.StopContainer(id=b, timeout=0)
    same('shared-pids-stop', (EXITED, 137, 'Error'), ended(b))
    same('shared-pids-live', RUNNING, state(a))
    for p in (pod, other):
        cri.StopPodSandbox(id=p)
        cri.RemovePodSandbox(id=p)
    same('two-removed', ([], []), (cri.ListPodSandbox()['items'], cri.ListContainers()['containers']))


try:
    {'life': life, 'again': again, 'shared': shared}[PART]()
except Exception as e: # of the engine: its words say what
    print('#', getattr(e, 'details', lambda: repr(e))())
    print('# line', [t.lineno for t in traceback.extract_tb(e.__traceback__) if t.filename == __file__][-1])
    print('FAIL', PART)
    sys.exit(1)
sys.exit(failed)
