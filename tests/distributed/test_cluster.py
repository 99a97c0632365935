"""A Ray of our own: jobs with their output and exit code, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fpray.distributed.cluster import JOB_CONFIG, _find, connect, in_job, require_absolute, submit
from fpray.errors import UserError

ROOT = Path(__file__).parents[2]

JOB = '''
import os, sys, ray
from fpray.distributed import cluster
from fpray.errors import UserError
print('in a job:', cluster.in_job(), os.environ['FPRAY_X'], flush=True)
cluster.connect()
@ray.remote
def threads():
    import fpray.store
    return os.environ['OMP_NUM_THREADS'], os.environ['FPRAY_X']
print('worker:', ray.get(threads.remote()))
try:
    cluster.require_absolute('runs/x', '--store')
except UserError as error:
    print('refused:', error)
sys.exit(7)
'''

SCRIPT = '''
import os, sys, time
from fpray.distributed.cluster import local_cluster, submit
with local_cluster(cpus=1) as cluster:
    print('pid', cluster.pid, cluster.folder, flush=True)
    code = submit(cluster.jobs, [sys.executable, '-c', os.environ['JOB']], working_dir=os.getcwd(),
                  env={'FPRAY_X': 'told'}, token=cluster.token)
    print('code', code, flush=True)
    code = submit(cluster.jobs, 'echo at work; sleep 300', token=cluster.token)
    print('code', code, flush=True)
    time.sleep(300)
'''


def until(lines, what):
    """Reads lines until one contains `what`."""
    seen = []
    for line in lines:
        seen.append(line)
        if what in line:
            return seen
    pytest.fail(f'{what!r} is not in {"".join(seen)}')


@pytest.mark.slow
def test_a_local_cluster_from_its_start_to_its_end():
    """A job's output while it runs, its own exit code, Ctrl-C, and SIGTERM, after which no process is left."""
    before = {p.pid for p in psutil.process_iter() if p.name() == 'raylet'}
    run = subprocess.Popen([sys.executable, '-c', SCRIPT], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                           env={**os.environ, 'JOB': JOB, 'PYTHONPATH': str(ROOT)})
    try:
        _, pid, folder = until(run.stdout, 'pid')[-1].split()
        output = ''.join(until(run.stdout, 'code'))
        assert 'in a job: True told' in output and "worker: ('1', 'told')" in output
        assert 'refused: --store runs/x is a relative path' in output
        assert output.splitlines()[-1] == 'code 7'
        until(run.stdout, 'at work')
        run.send_signal(signal.SIGINT)
        assert until(run.stdout, 'code')[-1].strip() == 'code 130'
        family = psutil.Process(int(pid)).children(recursive=True)
        assert any(p.name() == 'raylet' for p in family)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
    finally:
        run.kill()
    left = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert left == [] and not Path(folder).exists()
    assert {p.pid for p in psutil.process_iter() if p.name() == 'raylet'} >= before & set(psutil.pids())


@pytest.mark.slow
def test_a_local_cluster_ends_when_its_owner_is_killed_outright():
    run = subprocess.Popen([sys.executable, '-c', SCRIPT], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                           env={**os.environ, 'JOB': 'pass', 'PYTHONPATH': str(ROOT)})
    _, pid, folder = until(run.stdout, 'pid')[-1].split()
    family = [psutil.Process(int(pid)), *psutil.Process(int(pid)).children(recursive=True)]
    run.kill()
    _, left = psutil.wait_procs(family, timeout=120)
    shutil.rmtree(folder, ignore_errors=True)
    assert [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_connect_joins_the_ray_that_is_named(ray):
    """From another process, by its address; this one is connected already and stays so."""
    address = ray.get_runtime_context().gcs_address
    assert connect({'address': 'local'}) == address
    code = ('import os, ray; from fpray.distributed.cluster import connect; print(connect()); '
            'print(ray.get(ray.remote(lambda: os.environ["OMP_NUM_THREADS"]).remote()))')
    told = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=100,
                          env={**os.environ, 'RAY_ADDRESS': address, 'PYTHONPATH': str(ROOT)})
    assert told.stdout.split() == [address, '1'], told.stderr


def test_a_ray_that_does_not_answer_is_a_users_error():
    start = time.monotonic()
    with pytest.raises(UserError, match='no Ray job server answers at'):
        submit('http://127.0.0.1:9', 'true')
    for address in ('127.0.0.1:9', 'ray://127.0.0.1:9'):
        with pytest.raises(UserError, match=f'no Ray answers at {address}'):
            _find(address)
    with pytest.raises(UserError, match='nowhere is no address'):
        _find('nowhere')
    assert time.monotonic() - start < 20


def test_paths_inside_a_job(monkeypatch):
    assert not in_job()
    require_absolute('runs', '--store')
    monkeypatch.setenv(JOB_CONFIG, '{}')
    assert in_job()
    for path in ('/runs', 's3://bucket/runs', ''):
        require_absolute(path, '--store')
    with pytest.raises(UserError, match=r'--data.root runs is a relative path.*give an absolute path'):
        require_absolute('runs', '--data.root')
