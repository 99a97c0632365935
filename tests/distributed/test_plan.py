"""Plans run once, side by side, and go on after any kill; what goes wrong is said in one line."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fpray.distributed import plan
from fpray.distributed.plan import Display, Pace, StageError, describe, duration, order, run_plan, seat
from fpray.errors import UserError
from fpray.store import Leases, Resources, Stage, Store, no_progress


def note(context, text):
    with open(context.config['calls'], 'a') as f:
        f.write(f'{context.name} {text}\n')


def add(context):
    """Writes one more than the sum of its inputs."""
    note(context, 'ran')
    context.progress(1, 2, 'images')
    context.log(64, {'loss': 0.5})
    (context.out / 'n').write_text(str(1 + sum(int((p / 'n').read_text()) for p in context.inputs.values())))


def meet(context):
    """Two of these only end if they run at the same time."""
    folder = Path(context.config['folder'])
    (folder / context.config['me']).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    (context.out / 'n').write_text(str(len(list(folder.iterdir()))))


def die_once(context):
    """Its worker is killed half way; the second attempt finds the checkpoint."""
    checkpoint = context.scratch / 'half'
    note(context, f'checkpoint {checkpoint.exists()}')
    if not checkpoint.exists():
        checkpoint.touch()
        context.keep(checkpoint)
        os.kill(os.getpid(), signal.SIGKILL)
    (context.out / 'n').write_text('0')


def slow(context):
    """Counts to ten with a checkpoint after each; once it is at 3, a test kills its driver."""
    at = context.scratch / 'at'
    start = int(at.read_text()) if at.exists() else 0
    note(context, f'from {start}')
    for i in range(start, 10):
        time.sleep(0.1 if start else 0.5)
        at.write_text(str(i + 1))
        context.progress(i + 1, 10, 'images')
    (context.out / 'n').write_text('10')


def refuse(context):
    raise UserError('3_1.png is no picture', 'remove it')


def crash(context):
    raise ZeroDivisionError('no images')


def stay(context):
    while True:
        time.sleep(0.1)


def plan_of(tmp_path):
    """data -> two victims -> report."""
    config = {'calls': str(tmp_path / 'calls')}
    data = Stage('data', 1, config, {}, add)
    victims = [Stage(f'victim/{n}', 1, {**config, 'people': n}, {'data': data}, add) for n in (10, 20)]
    report = Stage('report', 1, config, {'small': victims[0], 'large': victims[1]}, add)
    return [data, *victims, report]


def calls(tmp_path):
    return (tmp_path / 'calls').read_text().splitlines()


def test_order_and_description(tmp_path):
    stages = plan_of(tmp_path)
    assert [s.name for s in order(stages[::-1])] == ['data', 'victim/10', 'victim/20', 'report']
    alias = Stage('victim/again', 1, stages[1].config, stages[1].inputs, add)
    assert len(order([*stages, alias])) == 4  # the same key: the same stage
    rows = describe(stages, Store(tmp_path / 'store'))
    assert [(r['name'], r['key'], r['done']) for r in rows] == [(s.name, s.key, False) for s in stages]
    loop = Stage('a', 1, {}, {}, add)
    loop.inputs['b'] = Stage('b', 1, {}, {'a': loop}, add)
    with pytest.raises(ValueError, match='its own input'):
        order([loop])


@pytest.mark.parametrize('root', ['{}/store', 'file://{}/store'])
def test_a_plan_runs_once(ray, tmp_path, root):
    store, stages, events = Store(root.format(tmp_path), cache=tmp_path / 'cache'), plan_of(tmp_path), []
    run_plan(stages, store, on_event=events.append, show=False)
    assert (store.folder(stages[3]) / 'n').read_text() == '5'
    assert sorted(calls(tmp_path)) == ['data ran', 'report ran', 'victim/10 ran', 'victim/20 ran']
    kinds = [(e.kind, e.stage.name) for e in events]
    assert kinds.index(('done', 'data')) < kinds.index(('start', 'victim/10'))
    metrics = [e for e in events if e.kind == 'metrics']
    assert all((e.step, e.values, e.trial) == (64, {'loss': 0.5}, None) for e in metrics) and metrics
    events.clear()
    run_plan(stages[3:], store, on_event=events.append, show=False)
    assert [(e.kind, e.stage.name) for e in events] == [('hit', 'report')] and len(calls(tmp_path)) == 4
    assert store.verify() == [] and not list(tmp_path.glob('store/*/lease.json'))


def test_independent_stages_run_side_by_side(ray, tmp_path):
    (tmp_path / 'here').mkdir()
    stages = [Stage('meet', 1, {'folder': str(tmp_path / 'here'), 'me': me}, {}, meet) for me in 'ab']
    store = Store(tmp_path / 'store')
    run_plan(stages, store, show=False)
    assert all((store.folder(s) / 'n').read_text() == '2' for s in stages)


def test_a_killed_worker_is_replaced_and_resumes(ray, tmp_path):
    stage = Stage('die', 1, {'calls': str(tmp_path / 'calls')}, {}, die_once)
    store = Store(f'file://{tmp_path}/store', cache=tmp_path / 'cache')
    run_plan([stage], store, show=False)
    assert calls(tmp_path) == ['die checkpoint False', 'die checkpoint True'] and store.has(stage)
    assert not list(tmp_path.glob('store/train/*'))


DRIVER = '''
import sys
from pathlib import Path
from fpray.distributed.cluster import connect
from fpray.distributed.plan import run_plan
from fpray.store import Store
from tests.distributed.test_plan import kill_plan
connect({'address': sys.argv[1]})
run_plan(kill_plan(Path(sys.argv[2])), Store(sys.argv[2] + '/store'))
'''


def kill_plan(folder):
    config = {'calls': str(folder / 'calls')}
    first = Stage('data', 1, config, {}, add)
    return [first, Stage('slow', 1, config, {'data': first}, slow)]


def test_a_killed_driver_goes_on(ray, tmp_path):
    """SIGKILL for the driver in the middle of the second stage; the same plan again ends it and redoes nothing."""
    root = Path(__file__).parents[2]
    driver = subprocess.Popen([sys.executable, '-c', DRIVER, ray.get_runtime_context().gcs_address, str(tmp_path)],
                              cwd=root, env={**os.environ, 'PYTHONPATH': str(root)}, stdout=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(p.read_text() >= '3' for p in tmp_path.glob('store/train/*/at')) and time.monotonic() < end:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    store = Store(tmp_path / 'store')
    run_plan(kill_plan(tmp_path), store, show=False)
    ran, first, second = calls(tmp_path)
    assert (ran, first) == ('data ran', 'slow from 0') and int(second.split()[-1]) >= 3
    assert all(store.has(s) for s in kill_plan(tmp_path)) and store.verify() == []


def test_a_users_error_is_one_line_and_leaves_nothing(ray, tmp_path):
    events, store = [], Store(tmp_path / 'store')
    stages = [Stage('data', 1, {}, {}, refuse), Stage('other', 1, {}, {}, stay)]
    with pytest.raises(UserError) as error:
        run_plan(stages, store, on_event=events.append, show=False)
    assert str(error.value) == '3_1.png is no picture; remove it'
    assert events[-1].kind == 'failed' and events[-1].stage.name == 'data'
    assert not [p for p in tmp_path.rglob('*') if p.is_file()]


def test_a_stage_that_had_to_be_killed_leaves_nothing_either(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, 'GRACE_S', 0.0)  # no time to tidy up: it is killed where it stands
    stages = [Stage('data', 1, {}, {}, refuse), Stage('other', 1, {}, {}, stay)]
    with pytest.raises(UserError):
        run_plan(stages, Store(tmp_path / 'store'), show=False)
    assert not [p for p in tmp_path.rglob('*') if p.is_file()]


def test_other_faults_name_their_stage(ray, tmp_path):
    with pytest.raises(StageError, match='stage victim/3 failed: ZeroDivisionError: no images') as error:
        run_plan([Stage('victim/3', 1, {}, {}, crash)], Store(tmp_path), show=False)
    assert 'in crash' in str(error.value.__cause__)  # the worker's traceback is at hand


def test_a_stage_of_another_driver_is_awaited(ray, tmp_path, capsys):
    store, (data, *_) = Store(tmp_path / 'store'), plan_of(tmp_path)
    with Leases(store) as other:
        assert other.take(data.key)
        import threading
        threading.Timer(1.5, lambda: store.execute(data, no_progress)).start()
        events = []
        run_plan([data], store, on_event=events.append)
    assert [e.kind for e in events] == ['hit'] and calls(tmp_path) == ['data ran']
    assert 'data is held by another driver' in capsys.readouterr().out


def test_the_display_says_how_far_and_how_long(tmp_path):
    stages = plan_of(tmp_path)
    show = Display(stages, {stages[0].key}, show=False)
    show.begin = 0.0
    line = show.line({'victim/10': (12_800, 25_600, 'images'), 'victim/20': None}, now=60.0)
    assert line == '[ 38 %] 1/4 stages, victim/10: 12,800/25,600 images; about 5 min left'
    assert 'waiting for a free place' in show.line({'victim/20': None}, 60.0)
    for second in range(11):
        show.paces.setdefault('victim/10', Pace(0.0, 0)).update(340 * second, float(second))
    assert 'images, 340 images/s' in show.line({'victim/10': (3_400, 25_600, 'images')}, 60.0)
    assert [duration(s) for s in (8, 240, 9000)] == ['8 s', '4 min', '2.5 h']


def sit(context):
    """Writes the name of the machine that it ran on."""
    import ray

    (context.out / 'n').write_text(ray.get_runtime_context().get_node_id())


SEATS = """
import sys, tempfile
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from fpray.distributed.plan import SEAT, run_plan
from fpray.store import Resources, Stage, Store
from tests.distributed.test_plan import sit

store = Store(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 0, 'include_dashboard': False, 'temp_dir': sys.argv[2]})
ray.init(address=cluster.address, log_to_driver=False, logging_level='ERROR')

def machine(name):
    stage = Stage(name, 1, {}, {}, sit, Resources(cpus=0, children=1))
    run_plan([stage], store, show=False)
    return (store.folder(stage) / 'n').read_text()

cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
head = ray.get_runtime_context().get_node_id()
assert machine('a') != head, 'no machine offers a seat: a sliver of a CPU'
seated = cluster.add_node(num_cpus=1, resources={SEAT: 1})
cluster.wait_for_nodes()
assert {machine(name) for name in 'bcd'} == {seated.node_id}, 'a seat is offered'
ray.shutdown()
cluster.shutdown()
"""


def test_one_machine_needs_no_seats(ray, tmp_path):
    assert seat() == {'num_cpus': 0}, 'all of its CPUs are for the children'
    stage = Stage('sit', 1, {}, {}, sit, Resources(cpus=0, children=1))
    run_plan([stage], Store(tmp_path / 'store'), show=False)
    assert (Store(tmp_path / 'store').folder(stage) / 'n').read_text() == ray.get_runtime_context().get_node_id()


@pytest.mark.slow
def test_a_stage_without_cpus_keeps_off_a_head_that_carries_no_work(tmp_path):
    folder = tempfile.mkdtemp(prefix='fpray-', dir='/tmp')  # Ray's sockets allow no long path
    try:
        subprocess.run([sys.executable, '-c', SEATS, tmp_path / 'store', folder], check=True, timeout=180,
                       cwd=Path(__file__).parents[2])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
