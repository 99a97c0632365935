"""Stage -> key -> folder or bucket prefix; a manifest written last means done.

A stage's results lie in `ROOT/KEY/attempt-ID/`: `config.json`, what the stage wrote, and `manifest.json`, written
last because buckets have no rename: no manifest, not there. `ROOT/train/KEY/` is its scratch folder (checkpoints), kept
between attempts and removed when it is published; `ROOT/KEY/lease.json` guards the key against two drivers. ROOT is
a folder, or an address that fsspec knows (`s3://...`, also `file://...`, which takes a bucket's way); a bucket is
reached through local copies under a cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import fsspec

from fpray.errors import UserError

log = logging.getLogger(__name__)

MANIFEST, CONFIG, LEASE, CURVES = 'manifest.json', 'config.json', 'lease.json', 'curves.jsonl'
FORMAT = 1  # of the manifest; a reader refuses none, a later writer counts up
STALE_S = 60.0  # a lease whose driver was not heard of for so long may be taken over
PACKAGES = ('fpray', 'numpy', 'scipy', 'pandas', 'scikit-learn', 'pillow', 'torch', 'ray', 'optuna', 'mlflow')


def canonical(value: Any, where: str = 'config') -> Any:
    """A configuration as plain JSON values; equal configurations give equal values.

    Dataclasses become objects of their fields and tuples lists. A float without a fraction becomes an integer (as
    RFC 8785 writes numbers), so that `3` and `3.0` from a command line are one configuration.

    Raises:
        TypeError: a value with no single faithful encoding (a path, a set, an array, NaN, ...), naming its place.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f'{where} is {value}: JSON has no such number')
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: canonical(getattr(value, f.name), f'{where}.{f.name}') for f in fields(value)}
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f'{where} has a key that is not a string')
        return {k: canonical(v, f'{where}.{k}') for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v, f'{where}[{i}]') for i, v in enumerate(value)]
    hint = '; a path is a setting: put the fingerprint of its content there' if isinstance(value, Path) else ''
    raise TypeError(f'{where} holds a {type(value).__name__}, which no key can be made of{hint}')


def canonical_json(value: Any) -> str:
    """`canonical(value)` as one line of JSON with sorted keys: what keys are hashes of."""
    return json.dumps(canonical(value), sort_keys=True, separators=(',', ':'), ensure_ascii=False)


@dataclass(frozen=True)
class Resources:
    """What a stage takes while it runs.

    Attributes:
        cpus, gpus: of its own process. A stage that starts trainers, trials or pools asks for 0 CPUs, so that it holds
            none while it waits for them.
        children: CPUs that those need at least; a plan starts no more stages than its cluster can feed.
    """

    cpus: float = 1
    gpus: float = 0
    children: float = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """A step of a study as a value: what it is called, what its numbers depend on, and the function that makes them.

    Attributes:
        name: `family` or `family/setting`, e.g. 'victim/20'; the family alone is part of the key.
        version: counted up when `run` changes what it computes.
        config: dataclass or plain values that the results depend on, nothing else (see `canonical`).
        inputs: the stages whose results it reads, by the name under which `run` finds them.
        run: a function of a module; it reads `Context.inputs` and writes into `Context.out`.
        resources: what it takes of the cluster.
        weight: its share of the expected work, for the progress display alone; never part of the key.
    """

    name: str
    version: int
    config: Any
    inputs: Mapping[str, Stage]
    run: Callable[[Context], None]
    resources: Resources = Resources()
    weight: float = 1.0

    @property
    def family(self) -> str:
        """The name without its setting: 'victim' of 'victim/20'."""
        return self.name.split('/', 1)[0]

    @cached_property
    def key(self) -> str:
        """20 hexadecimal digits: the hash of family, version, configuration and the inputs' keys."""
        inputs = {name: stage.key for name, stage in self.inputs.items()}
        text = canonical_json([self.family, self.version, canonical(self.config, self.name), inputs])
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def no_progress(done: int, total: int, text: str) -> None:
    """The progress report of a stage that nobody watches: goes to the debug log."""
    log.debug('%d/%d %s', done, total, text)


def no_metrics(step: int, values: Mapping[str, float]) -> None:
    """The live metrics of a stage that nobody watches: go to the debug log."""
    log.debug('%d %s', step, values)


@dataclass
class Context:
    """What a stage's function receives.

    Attributes:
        name, key, config: the stage's own.
        inputs: folder of each input's results, on this machine, to be read only.
        out: empty folder; what lies there when the function returns is published.
        scratch: folder that outlives a killed attempt (checkpoints); removed once the stage is published.
        progress: call (done, total, text) as often as you like; text is the unit, e.g. 'images'.
        settings: what numbers do not depend on (numbers of actors, checkpoint intervals, addresses).
        log: call (step, {name: value}) for live curves; step counts images seen.
        scratch_uri: where the scratch folder is kept when the store is a bucket; '' when it is a folder.
        store, input_keys: where the inputs come from; see `here`.
        device: name it here when the work ran elsewhere than on this process's CPU; goes to the manifest.
    """

    name: str
    key: str
    config: Any
    inputs: dict[str, Path]
    out: Path
    scratch: Path
    progress: Callable[[int, int, str], None] = no_progress
    settings: dict[str, Any] = field(default_factory=dict)
    log: Callable[[int, Mapping[str, float]], None] = no_metrics
    scratch_uri: str = ''
    store: Store | None = None
    input_keys: dict[str, str] = field(default_factory=dict)
    device: str = ''

    def within(self, name: str, out: Path | None = None) -> Context:
        """A context for one part of this stage's work, e.g. one of several trainings.

        Args:
            name: of its folder in the scratch folder.
            out: where it writes its results; default: the folder of that name in `out`.
        """
        part = replace(self, out=out or self.out / name, scratch=self.scratch / name,
                       scratch_uri=f'{self.scratch_uri}/{name}' if self.scratch_uri else '')
        part.out.mkdir(parents=True, exist_ok=True)
        part.scratch.mkdir(parents=True, exist_ok=True)
        if part.scratch_uri:
            download(part.scratch_uri, part.scratch)
        return part

    def here(self) -> Context:
        """This context on the machine where it is called: inputs of a bucket are fetched there first."""
        if not self.scratch_uri or self.store is None:
            return self
        return replace(self, inputs={name: self.store.folder(key) for name, key in self.input_keys.items()},
                       scratch=self.store.cache / self.scratch_uri.removeprefix(f'{self.store.root}/'))

    def place(self, name: str) -> Place:
        """An input's results as a value that travels to other machines: `locate` finds them there."""
        if not self.scratch_uri or self.store is None:
            return str(self.inputs[name])
        return self.store, self.input_keys[name]

    def keep(self, *files: Path) -> None:
        """Makes files of the scratch folder outlive this machine: uploads them where the store is a bucket."""
        if self.scratch_uri:
            upload(self.scratch, self.scratch_uri, files)


@dataclass(frozen=True)
class Event:
    """What happens to a stage while a plan runs, for those who record it.

    kind: 'hit' (was done before), 'start', 'metrics' (`values` at `step` images seen, of search trial `trial`
    unless that is None), 'done' (after `seconds`), 'failed' (`text` says why).
    """

    kind: str
    stage: Stage
    seconds: float = 0.0
    step: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    trial: int | None = None
    text: str = ''


def write_curves(folder: Path, rows: Iterable[Mapping[str, float]]) -> None:
    """Writes a training's curves beside its results: one JSON object a line, each with its `step` (images seen)."""
    (folder / CURVES).write_text(''.join(json.dumps(dict(row)) + '\n' for row in rows))


def parse_curves(text: str) -> list[dict[str, float]]:
    """What `write_curves` wrote."""
    return [json.loads(line) for line in text.splitlines()]


def write_atomically(path: Path, text: str) -> None:
    """Writes a local file whole or not at all, even if the process is killed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}')
    with open(temporary, 'w') as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def _filesystem(uri: str) -> tuple[Any, str]:
    made = {'auto_mkdir': True} if uri.startswith(('file://', 'local://')) or '://' not in uri else {}
    fs, path = fsspec.core.url_to_fs(uri, **made)
    return fs, path.rstrip('/')


def upload(folder: Path, uri: str, files: Iterable[Path]) -> None:
    """Copies local files under `folder` to the same places under `uri`."""
    fs, prefix = _filesystem(uri)
    sources = [str(f) for f in files]
    if sources:
        fs.put(sources, [f'{prefix}/{Path(f).relative_to(folder).as_posix()}' for f in sources])


def download(uri: str, folder: Path) -> None:
    """Copies everything under `uri` into a local folder; nothing there is no fault. Newer local files stay."""
    fs, prefix = _filesystem(uri)
    fs.invalidate_cache()
    for source in fs.find(prefix) if fs.exists(prefix) else []:
        target = folder / source[len(prefix):].lstrip('/')
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f'.{target.name}.{secrets.token_hex(4)}')
            fs.get_file(source, str(temporary))
            os.replace(temporary, target)


class Store:
    """Results by key, under one root. Small and picklable: it travels to the workers."""

    def __init__(self, root: str | Path, cache: str | Path | None = None) -> None:
        """Takes a folder or an address; touches nothing.

        Args:
            root: where the results lie. Workers on other machines must reach it under the same name.
            cache: where copies from a bucket go on each machine; default: under the user's cache folder.
        """
        text = str(root)
        self.remote = '://' in text
        self.root = text.rstrip('/') if self.remote else str(Path(text).expanduser().absolute())
        self._cache = Path(cache).absolute() if cache else None

    @property
    def cache(self) -> Path:
        """Where copies from a bucket lie on the machine where it is asked: users' folders differ between machines."""
        if self._cache is not None:
            return self._cache
        home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        return home / 'fpray' / hashlib.sha256(self.root.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f'Store({self.root!r})'

    # What is there

    def has(self, stage: Stage | str) -> bool:
        """True where a stage (or its key) is published; milliseconds."""
        return self._find(_key(stage)) is not None

    def folder(self, stage: Stage | str) -> Path:
        """The published results on this machine, to be read only; from a bucket they are copied once and checked.

        Raises:
            LookupError: the stage is not published.
        """
        key = _key(stage)
        attempt = self._find(key)
        if attempt is None:
            raise LookupError(f'{getattr(stage, "name", key)} is not in {self.root}')
        if not self.remote:
            return Path(self.root, key, attempt)
        target = self.cache / key / attempt
        if not target.exists():
            self._fetch(key, attempt, target)
        return target

    def manifest(self, stage: Stage | str) -> dict[str, Any]:
        """The manifest of a published stage (see `publish`); LookupError where it is not published."""
        key = _key(stage)
        attempt = self._find(key)
        if attempt is None:
            raise LookupError(f'{getattr(stage, "name", key)} is not in {self.root}')
        return dict(json.loads(self._read(f'{key}/{attempt}/{MANIFEST}')))

    def read_text(self, stage: Stage | str, name: str) -> str | None:
        """One text file of a published stage, without a copy of the rest; None where there is no such file."""
        key = _key(stage)
        attempt = self._find(key)
        try:
            return self._read(f'{key}/{attempt}/{name}') if attempt else None
        except FileNotFoundError:
            return None

    def published(self) -> Iterator[dict[str, Any]]:
        """The manifests of all finished stages, in the order in which they were finished."""
        found = [self.manifest(key) for key in self._children('') if self._find(key) is not None]
        yield from sorted(found, key=lambda manifest: (manifest['finished'], manifest['key']))

    def verify(self, stage: Stage | str | None = None) -> list[str]:
        """Recomputes the checksums of one stage or of all; returns one line a fault, [] when all is well."""
        keys = [_key(stage)] if stage is not None else self._children('')
        faults = []
        for key in keys:
            if (attempt := self._find(key)) is None:
                continue
            fs, prefix = _filesystem(self.root)
            for name, entry in self.manifest(key)['files'].items():
                path = f'{prefix}/{key}/{attempt}/{name}'
                if not fs.exists(path):
                    faults.append(f'{key}/{attempt}/{name} is missing')
                elif _sha256(path, fs.open) != entry['sha256']:
                    faults.append(f'{key}/{attempt}/{name} has another checksum than its manifest')
        return faults

    # Running and publishing

    def scratch(self, stage: Stage | str) -> Path:
        """A stage's scratch folder on this machine, filled with what was kept of it when the store is a bucket."""
        key = _key(stage)
        path = self.cache / 'train' / key if self.remote else Path(self.root, 'train', key)
        path.mkdir(parents=True, exist_ok=True)
        if self.remote:
            download(self.scratch_uri(key), path)
        return path

    def scratch_uri(self, stage: Stage | str) -> str:
        """Where a stage's scratch folder is kept in a bucket; '' when the store is a folder."""
        return f'{self.root}/train/{_key(stage)}' if self.remote else ''

    def execute(self, stage: Stage, progress: Callable[[int, int, str], None] = no_progress,
                metrics: Callable[[int, Mapping[str, float]], None] = no_metrics,
                settings: Mapping[str, Any] | None = None) -> Path:
        """Runs a stage in this process and publishes what it wrote; asks no lease and does not look whether it is
        done. A failed attempt leaves nothing but its scratch folder, and a user's error not even that.

        Returns:
            The folder of the published results.
        """
        start, key = time.monotonic(), stage.key
        self.sweep(stage)
        moment = f'{time.strftime("%Y%m%dT%H%M%S", time.gmtime())}{time.time_ns() % 10**9:09d}'
        attempt = f'attempt-{moment}-{secrets.token_hex(2)}'
        out = self._new_folder(key, attempt)
        done = False
        try:
            (out / CONFIG).write_text(json.dumps(canonical(stage.config), indent=2, ensure_ascii=False) + '\n')
            inputs = {name: self.folder(s) for name, s in stage.inputs.items()}
            context = Context(stage.name, key, stage.config, inputs, out, self.scratch(key), progress,
                              dict(settings or {}), metrics, self.scratch_uri(key), self,
                              {name: s.key for name, s in stage.inputs.items()})
            stage.run(context)
            self._publish(stage, attempt, out, time.monotonic() - start, context.device or _device())
            done = True
        except UserError:
            self._drop_scratch(key)
            raise
        finally:
            if self.remote or not done:
                shutil.rmtree(out, ignore_errors=True)
            self._drop_empty(key)
        self._drop_scratch(key)
        return self.folder(key)

    def _publish(self, stage: Stage, attempt: str, out: Path, seconds: float, device: str) -> None:
        names = sorted(p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file())
        if MANIFEST in names:
            raise RuntimeError(f'{stage.name} wrote a {MANIFEST}: that name is the store\'s')
        manifest = {
            'format': FORMAT, 'name': stage.name, 'key': stage.key, 'version': stage.version, 'attempt': attempt,
            'files': {n: {'sha256': _sha256(str(out / n)), 'bytes': (out / n).stat().st_size} for n in names},
            'inputs': {name: s.key for name, s in stage.inputs.items()},
            'seed': _first(stage, 'seed'), 'fingerprint': _first(stage, 'fingerprint'),
            'packages': _versions(), 'python': platform.python_version(), 'git': git_commit(),
            'device': device, 'platform': platform.platform(), 'seconds': round(seconds, 3),
            'finished': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        }
        if self.remote:
            upload(out, f'{self.root}/{stage.key}/{attempt}', [out / n for n in names])
        self._write(f'{stage.key}/{attempt}/{MANIFEST}', json.dumps(manifest, indent=2, ensure_ascii=False) + '\n')

    # Beneath: one way for folders and buckets

    def _find(self, key: str) -> str | None:
        """The published attempt of a key, the oldest where two drivers made one each."""
        fs, prefix = _filesystem(self.root)
        for name in self._children(key):
            if name.startswith('attempt-') and fs.exists(f'{prefix}/{key}/{name}/{MANIFEST}'):
                return name
        return None

    def _children(self, path: str) -> list[str]:
        fs, prefix = _filesystem(self.root)
        if not self.remote:
            try:
                return sorted(os.listdir(Path(self.root, path)))
            except (FileNotFoundError, NotADirectoryError):
                return []
        fs.invalidate_cache()
        try:
            found = fs.ls(f'{prefix}/{path}'.rstrip('/'), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip('/').rsplit('/', 1)[-1] for name in found)

    def _read(self, path: str) -> str:
        fs, prefix = _filesystem(self.root)
        return str(fs.cat_file(f'{prefix}/{path}').decode())

    def _write(self, path: str, text: str, make: bool = False) -> None:
        if self.remote:
            fs, prefix = _filesystem(self.root)
            fs.pipe_file(f'{prefix}/{path}', text.encode())
        else:
            if make:
                Path(self.root, path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(Path(self.root, path), text)

    def _remove(self, path: str, recursive: bool = False) -> None:
        fs, prefix = _filesystem(self.root)
        if fs.exists(f'{prefix}/{path}'):
            fs.rm(f'{prefix}/{path}', recursive=recursive)

    def _new_folder(self, key: str, attempt: str) -> Path:
        if self.remote:
            self.cache.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f'{key}-', dir=self.cache))
        out = Path(self.root, key, attempt)
        out.mkdir(parents=True)
        return out

    def _fetch(self, key: str, attempt: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{attempt}-', dir=target.parent))
        try:
            download(f'{self.root}/{key}/{attempt}', temporary)
            for name, entry in json.loads((temporary / MANIFEST).read_text())['files'].items():
                if not (temporary / name).exists() or _sha256(str(temporary / name)) != entry['sha256']:
                    raise UserError(f'{self.root}/{key}/{attempt}/{name} is damaged',
                                    'remove that attempt and run again')
            if not target.exists():
                temporary.rename(target)
        except FileExistsError:
            log.debug('%s was fetched by another process meanwhile', target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def sweep(self, stage: Stage) -> None:
        """Removes what killed attempts of a stage left behind; for the holder of its lease alone."""
        key = stage.key
        for name in self._children(key):
            if name.startswith('attempt-') and MANIFEST not in self._children(f'{key}/{name}'):
                self._remove(f'{key}/{name}', recursive=True)
        self._drop_empty(key)

    def _drop_scratch(self, key: str) -> None:
        self._remove(f'train/{key}', recursive=True)
        shutil.rmtree(self.cache / 'train' / key, ignore_errors=True)
        self._drop_empty('train')

    def _drop_empty(self, path: str) -> None:
        if not self.remote and not self._children(path) and Path(self.root, path).is_dir():
            Path(self.root, path).rmdir()


# A folder that every machine sees under this path, or the results of a stage: (store, its key).
Place = str | Path | tuple[Store, str]


def locate(place: Place) -> Path:
    """The folder of a place on this machine, to be read only; from a bucket it is copied once.

    Raises:
        LookupError: the stage is not published.
    """
    if isinstance(place, tuple):
        store, key = place
        return store.folder(key)
    return Path(place)


class Leases:
    """The keys that this driver holds, so that two drivers do not work on one stage. One thread keeps them fresh.

    A lease is free again when its driver ends, when it has not been heard of for `stale` seconds, or at once when
    its process is gone from this machine. On a bucket, which knows no exclusive creation, the later writer wins;
    should two drivers ever run one key, both attempts stay whole and the older is read.
    """

    def __init__(self, store: Store, stale: float = STALE_S) -> None:
        self.store, self.stale = store, stale
        self.owner = secrets.token_hex(8)
        self._held: set[str] = set()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._refresh, name='leases', daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join(timeout=10)
        for key in list(self._held):
            self.release(key)

    def take(self, key: str) -> bool:
        """Takes a key; False while another driver holds it."""
        with self._lock, self._alone():
            there = self.holder(key)
            if there is not None and there.get('owner') != self.owner and not self._is_free(there):
                return False
            self.store._write(f'{key}/{LEASE}', self._text(), make=True)
            if self.store.remote:
                time.sleep(0.2)  # a rival that saw no lease either has written by now: the last one stands
                if (self.holder(key) or {}).get('owner') != self.owner:
                    return False
            self._held.add(key)
            return True

    def release(self, key: str) -> None:
        """Gives a key back; a lease that another driver took over meanwhile is left alone."""
        with self._lock, self._alone():
            self._held.discard(key)
            if (self.holder(key) or {}).get('owner') == self.owner:
                self.store._remove(f'{key}/{LEASE}')
            self.store._drop_empty(key)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds off the other drivers of a store that is a folder: looking and writing become one step.

        The lock is the folder's own, so that it leaves no file behind and ends with its process.
        """
        if self.store.remote:
            yield
            return
        Path(self.store.root).mkdir(parents=True, exist_ok=True)
        folder = os.open(self.store.root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def holder(self, key: str) -> dict[str, Any] | None:
        """Who holds a key (owner, machine, pid, started, time in s since 1970), None where nobody does."""
        try:
            return dict(json.loads(self.store._read(f'{key}/{LEASE}')))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:  # cut off while it was written
            fs, prefix = _filesystem(self.store.root)
            with suppress(FileNotFoundError):  # released meanwhile
                return {'owner': '', 'time': fs.modified(f'{prefix}/{key}/{LEASE}').timestamp()}
            return None

    def _is_free(self, lease: dict[str, Any]) -> bool:
        if time.time() - float(lease.get('time', 0)) > self.stale:
            return True
        return lease.get('machine') == _machine() and _started(int(lease['pid'])) != lease.get('started')

    def _text(self) -> str:
        return json.dumps({'owner': self.owner, 'machine': _machine(), 'pid': os.getpid(),
                           'started': _started(os.getpid()), 'time': time.time()})

    def _refresh(self) -> None:
        while not self._end.wait(self.stale / 4):
            try:
                with self._lock, self._alone():
                    self._touch()
            except OSError as error:  # a store that is away for a moment must not end the thread
                log.warning('the leases could not be refreshed: %s', error)

    def _touch(self) -> None:
        for key in list(self._held):
            if (self.holder(key) or {}).get('owner') == self.owner:
                self.store._write(f'{key}/{LEASE}', self._text())
            else:
                self._held.discard(key)
                log.warning('another driver took over %s: this one was asleep too long', key)


def _key(stage: Stage | str) -> str:
    return stage if isinstance(stage, str) else stage.key


def _sha256(path: str, opener: Callable[..., Any] = open) -> str:
    digest = hashlib.sha256()
    with opener(path, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _first(stage: Stage, name: str) -> Any:
    """The first field of that name in a stage's configuration, else in its inputs'."""
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get(name) is not None:
                return value[name]
            value = list(value.values())
        found = (walk(v) for v in value) if isinstance(value, list) else ()
        return next((v for v in found if v is not None), None)

    here = walk(canonical(stage.config))
    if here is not None:
        return here
    return next((v for v in (_first(s, name) for s in stage.inputs.values()) if v is not None), None)


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the running code, with '+changes' when files differ from it; None where that is not known.

    A job's copy of the code has no history: the submitter passes FPRAY_GIT_COMMIT.
    """
    if told := os.environ.get('FPRAY_GIT_COMMIT'):
        return told
    top = Path(__file__).resolve().parents[1]
    if not (top / '.git').exists():
        return None
    try:
        def git(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(['git', '-C', str(top), *arguments], capture_output=True, text=True, timeout=10)

        head = git('rev-parse', 'HEAD')
        if head.returncode:
            return None
        return head.stdout.strip() + ('+changes' if git('diff', '--quiet', 'HEAD').returncode else '')
    except (OSError, subprocess.TimeoutExpired):
        return None


def _device() -> str:
    """What this process computed on, without importing torch for the question."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return str(torch.cuda.get_device_name())
    return f'cpu ({platform.processor() or platform.machine()})'


@cache
def _machine() -> str:
    """Names this machine, or container: processes of one name see each other's numbers."""
    name = socket.gethostname()
    for path in ('/proc/sys/kernel/random/boot_id', '/proc/self/ns/pid'):
        if os.path.exists(path):
            name += '/' + (os.readlink(path) if os.path.islink(path) else Path(path).read_text().strip())
    return name


def _started(pid: int) -> str | None:
    """When a process of this machine was started, so that a reused number is not taken for it; None: no process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        log.debug('process %d is another user\'s', pid)
    try:
        state, *rest = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
        return None if state == 'Z' else rest[18]  # a zombie holds nothing any more
    except FileNotFoundError:  # gone meanwhile, or a system without /proc
        return None if os.path.exists('/proc/self') else 'unknown'
