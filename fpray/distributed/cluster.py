"""A Ray to work on: the one that runs, a local one inside this process, or a local one to submit a job to."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from fpray.errors import UserError
from fpray.store import git_commit

# Ray's workers must find these in their environment. Ray Train returns from a report only when its controller next
# looks (2 s by default); threads are set by whoever computes, not by how many CPUs a task asked for.
ENVIRONMENT = {
    'RAY_TRAIN_HEALTH_CHECK_INTERVAL_S': '0.2',
    'OMP_NUM_THREADS': '1',
    'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '1',  # who asks for no GPU sees none (and no warning about it)
    'RAY_USAGE_STATS_ENABLED': '0',  # an audit tells nobody that it runs
    'TUNE_DISABLE_AUTO_CALLBACK_LOGGERS': '1',  # the trials' own records are in the store
}
JOB_CONFIG = 'RAY_JOB_CONFIG_JSON_ENV_VAR'  # Ray's job supervisor sets it for the drivers that it starts
START_S = 180  # until a local Ray must answer; 6-20 s is usual
PR_SET_PDEATHSIG = 1  # of Linux's prctl
STOP_S = 10  # until a process that was asked to end is killed


def in_job() -> bool:
    """True in a driver that was started by `ray job submit`."""
    return JOB_CONFIG in os.environ


def require_absolute(path: str | Path, flag: str) -> None:
    """Raises UserError for a relative path inside a submitted job, where it would lie in Ray's temporary copy."""
    text = str(path)
    if in_job() and text and '://' not in text and not Path(text).is_absolute():
        raise UserError(f'{flag} {text} is a relative path, which inside a submitted job lies in Ray\'s temporary copy',
                        'give an absolute path or a URI')


def connect(settings: Mapping[str, Any] | None = None) -> str:
    """Connects this process to Ray: to the job's own, the one named, one that runs here, or else to a new local one.

    Args:
        settings: 'address' ('host:port', or 'local' for a new one; '' takes RAY_ADDRESS, the one that `ray start`
            left here, or else a new one), 'cpus' of a new one (all by default), 'worker_logs' to see them.

    Returns:
        The address of the cluster.

    Raises:
        UserError: no Ray answers at the address that was asked for, or it wants another token.
    """
    if ray.is_initialized():
        return str(ray.get_runtime_context().gcs_address)
    settings = settings or {}
    quiet: dict[str, Any] = {'logging_level': logging.ERROR, 'log_to_driver': bool(settings.get('worker_logs'))}
    address = _find(str(settings.get('address') or ''))
    if address == 'local':
        for name, value in ENVIRONMENT.items():  # a Ray that we start hands them down to its workers
            os.environ.setdefault(name, value)
        ray.init(address='local', num_cpus=settings.get('cpus') or None, include_dashboard=False, **quiet)
    else:
        try:
            ray.init(address=address, runtime_env=_runtime_env(), **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(f'the Ray at {address} cannot be joined: {_first_line(error)}',
                            'mend the address or RAY_AUTH_TOKEN, or leave the address away') from error
    return str(ray.get_runtime_context().gcs_address)


def cpus() -> int:
    """CPUs of the cluster that this process is connected to; at least 1."""
    return max(1, int(ray.cluster_resources().get('CPU', 1)))


def _find(asked: str) -> str:
    """The address for ray.init. Ray's own 'auto' would also join a private Ray of another program, and waits minutes
    for one that is gone."""
    told = os.environ.get('RAY_ADDRESS', '')
    if in_job():
        return told or 'auto'
    asked = asked or ('' if told.startswith('http') else told)  # http: is a job server's address, not a cluster's
    if asked in ('', 'auto'):  # what `ray start` left on this machine
        note = Path(os.environ.get('RAY_TMPDIR', '/tmp'), 'ray', 'ray_current_cluster')
        found = note.read_text().strip() if note.exists() else ''
        if found and _listens(found):
            return found
        if asked:
            raise UserError('no Ray runs on this machine', 'start one (`ray start --head`), or leave the address away')
        return 'local'
    if asked != 'local' and not _listens(asked):
        raise UserError(f'no Ray answers at {asked}', 'start one there, or leave the address away')
    return asked


def _listens(address: str) -> bool:
    host, _, port = address.rpartition('://')[2].rpartition(':')
    if not (host and port.isdigit()):
        raise UserError(f'{address} is no address of a Ray', 'give host:port')
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _runtime_env() -> dict[str, Any]:
    """What the workers of a Ray that we did not start lack. In a job, Ray refuses a name that the job has set too."""
    job = json.loads(os.environ[JOB_CONFIG]) if in_job() else {}
    told = (job.get('runtime_env') or {}).get('env_vars') or {}
    handed_down = os.environ if in_job() else {}
    missing = {n: v for n, v in ENVIRONMENT.items() if n not in told and handed_down.get(n) is None}
    return {'env_vars': missing} if missing else {}


@dataclass(frozen=True)
class LocalCluster:
    """A Ray of our own. `jobs`: address of its job server; `address`: for ray.init; `token`: '' if none is needed."""

    jobs: str
    address: str
    token: str
    pid: int
    folder: Path


@contextmanager
def local_cluster(cpus: int | None = None) -> Iterator[LocalCluster]:
    """A Ray with dashboard and job server, in child processes with their own folder, ports and token.

    Ends with the block, also on Ctrl-C, SIGTERM and SIGHUP, and leaves no process and no other Ray touched.

    Args:
        cpus: CPUs that it hands out; all of this machine by default.

    Raises:
        UserError: it does not start, with the last line of its log.
    """
    folder = Path(tempfile.mkdtemp(prefix='fpray-', dir='/tmp'))  # Ray's sockets allow no long path
    mode = os.environ.get('RAY_AUTH_MODE', 'token').lower()
    token = (os.environ.get('RAY_AUTH_TOKEN') or secrets.token_hex(16)) if mode == 'token' else ''
    with _signals_unwind():
        child: subprocess.Popen[bytes] | None = None
        try:
            for _ in range(3):
                child, cluster = _start(folder, cpus, token)
                if answers := _answers(child, cluster):
                    break
                died = child.poll() is not None
                _end(child)
                if not died:  # else a port that was free was taken meanwhile: again
                    break
            if not answers:
                lines = (folder / 'start.log').read_text(errors='replace').strip().splitlines() or ['no output']
                raise UserError(f'a local Ray does not start; it says last: {lines[-1]}',
                                'see whether memory, /dev/shm and /tmp have room')
            yield cluster
        finally:
            if child is not None:
                _end(child)
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, cpus: int | None, token: str) -> tuple[subprocess.Popen[bytes], LocalCluster]:
    names = ('port', 'dashboard-port', 'dashboard-agent-listen-port', 'dashboard-agent-grpc-port',
             'runtime-env-agent-port', 'metrics-export-port', 'ray-client-server-port')
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    auth = {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': token} if token else {'RAY_AUTH_MODE': 'disabled'}
    path = f'{Path(sys.executable).parent}:{os.environ.get("PATH", "")}'  # a job's `python` is this one
    environment = {**ENVIRONMENT, **os.environ, **auth, 'PATH': path}
    environment.pop('RAY_ADDRESS', None)
    command = [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block', '--disable-usage-stats',
               '--node-ip-address=127.0.0.1', '--include-dashboard=true', f'--temp-dir={folder}',
               *([f'--num-cpus={cpus}'] if cpus else []), *(f'--{n}={p}' for n, p in ports.items())]
    with open(folder / 'start.log', 'ab') as out:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_end_with_parent)
    return child, LocalCluster(f'http://127.0.0.1:{ports["dashboard-port"]}', f'127.0.0.1:{ports["port"]}', token,
                               child.pid, folder)


def _end_with_parent() -> None:
    """In the child, before it starts: Linux sends it SIGTERM should this process be killed outright."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(('127.0.0.1', 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _answers(child: subprocess.Popen[bytes], cluster: LocalCluster) -> bool:
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        try:
            _client(cluster.jobs, cluster.token).list_jobs()
            return True
        except (UserError, RuntimeError):  # the web server stands before what is behind it
            time.sleep(0.2)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends `ray start` and all that descends from it, and nothing else."""
    import psutil  # Ray brings its own copy

    with _no_interrupt():
        try:
            family = psutil.Process(child.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        end = time.monotonic() + 2
        while (left := [p for p in family if _runs(p)]) and time.monotonic() < end:
            time.sleep(0.05)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _runs(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """SIGTERM and SIGHUP leave by an exception, so that what was started is ended; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {s: signal.signal(s, leave) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {s: signal.signal(s, signal.SIG_IGN) for s in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def submit(address: str, entrypoint: str | Sequence[str], *, working_dir: str | Path | None = None,
           env: Mapping[str, str] | None = None, token: str = '',
           write: Callable[[str], object] | None = None) -> int:
    """Runs a command as a Ray job and shows its output while it runs. Ctrl-C stops the job.

    Args:
        address: of the job server, e.g. 'http://127.0.0.1:8265'.
        entrypoint: the command, as a shell line or as a list of arguments.
        working_dir: folder that travels with the job (Ray leaves out what .gitignore names; at most 512 MiB).
        env: environment variables of the driver and of every worker.
        token: of the cluster; '' lets Ray's client find its own (RAY_AUTH_TOKEN, ~/.ray/auth_token).
        write: where the output goes, in pieces; the standard output by default.

    Returns:
        The driver's own exit code; 128 + n when signal n ended it, 130 after Ctrl-C.

    Raises:
        UserError: no job server answers there, or it wants a token.
    """
    commit = git_commit()
    variables = {**({'FPRAY_GIT_COMMIT': commit} if commit else {}), **ENVIRONMENT, **(env or {})}
    runtime_env: dict[str, Any] = {'env_vars': variables}
    if working_dir is not None:
        runtime_env['working_dir'] = str(Path(working_dir).absolute())
    line = entrypoint if isinstance(entrypoint, str) else shlex.join(entrypoint)
    client = _client(address, token)
    with _answered(address):
        job = _hand_in(client, line, runtime_env)
    try:
        asyncio.run(_follow(client, job, write or _to_stdout))
    except (KeyboardInterrupt, SystemExit) as end:
        with _no_interrupt():
            client.stop_job(job)
            _await_end(client, job, STOP_S)
        if isinstance(end, SystemExit):
            raise
        return 130
    info = _await_end(client, job, START_S)
    code = info.driver_exit_code
    if code is None:  # the driver never ran, e.g. its runtime environment could not be made
        (write or _to_stdout)(f'{info.message}\n')
        return 1
    return 128 - code if code < 0 else int(code)


def _hand_in(client: Any, line: str, runtime_env: dict[str, Any]) -> str:
    """The job's number. A server that has just started may have no machine yet to run a job on."""
    end = time.monotonic() + START_S
    while True:
        try:
            return str(client.submit_job(entrypoint=line, runtime_env=dict(runtime_env)))
        except RuntimeError as error:
            if 'No available agent' not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def _client(address: str, token: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    # They name every ignored file, and say after each job that the connection was closed, as it should be.
    for name in ('dashboard.modules.job.sdk', 'dashboard.modules.dashboard_sdk', '_private.runtime_env.packaging',
                 '_private.runtime_env.working_dir'):
        logging.getLogger(f'ray.{name}').setLevel(logging.ERROR)
    with _answered(address):
        return JobSubmissionClient(address, headers={'Authorization': f'Bearer {token}'} if token else None)


@contextmanager
def _answered(address: str) -> Iterator[None]:
    """Says in one line that a job server does not answer or wants a token."""
    try:
        yield
    except ray.exceptions.AuthenticationError as error:
        raise UserError(f'the Ray job server at {address} wants another token',
                        'set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster\'s') from error
    except (ConnectionError, OSError) as error:
        raise UserError(f'no Ray job server answers at {address}: {_first_line(error)}',
                        'start Ray there, or mend the address') from error


async def _follow(client: Any, job: str, write: Callable[[str], object]) -> None:
    """Shows a job's log until its end; goes on where it was when the connection breaks."""
    shown = 0
    while True:
        seen = 0
        try:
            async for text in client.tail_job_logs(job):
                new = text[max(0, shown - seen):]
                seen += len(text)
                shown = max(shown, seen)
                if new:
                    write(new)
        except RuntimeError:
            await asyncio.sleep(1)
        if client.get_job_status(job).is_terminal():
            return
        await asyncio.sleep(0.2)


def _await_end(client: Any, job: str, seconds: float) -> Any:
    end = time.monotonic() + seconds
    info = client.get_job_info(job)
    while not info.status.is_terminal() and time.monotonic() < end:
        time.sleep(0.2)
        info = client.get_job_info(job)
    return info


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
