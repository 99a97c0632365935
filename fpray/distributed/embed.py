"""Embeddings of one set of pictures by many networks: actors load each network once and embed the whole set.

The result is one Parquet table a length, with one row group a network. What is done stays done: a run that begins again
takes up the networks that are missing. Memory does not grow with the number of networks.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from fpray.distributed import gauges
from fpray.distributed.score import Source
from fpray.models.config import ExtractorConfig
from fpray.models.extractors import Extractor, build_extractor
from fpray.store import Place, Store, canonical_json, locate, write_atomically
from fpray.training.config import LoopConfig, RecognitionConfig
from fpray.training.loop import Pictures, derive, train
from fpray.training.recognition import RecognitionLearner, embed, load_extractor, settle

RECORDS = 'models.json'
Progress = Callable[[int, int, str], None]
Answer = tuple[dict[str, Any], np.ndarray | None]  # what is known of a network, and its vectors if it gave some


@dataclass(frozen=True)
class Candidate:
    """A network of the pool."""

    name: str
    """By which its vectors are found; each once in a pool."""
    config: ExtractorConfig
    """What it is built as; of a saved one, its own counts."""
    seed: int = 0
    """Of the weights that `config` does not give."""
    weights: Place | None = None
    """Where `save_extractor` put it; None: built from `config`."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What each network does with one labelled set before it embeds; by default it takes its batch statistics alone.

    The paper trains its pool further on one data set (section 6.1).
    """

    rows: np.ndarray
    """Rows of the pictures, which must be none of those that are embedded."""
    labels: np.ndarray
    """An identity a row, int64, counted from 0."""
    loop: LoopConfig | None = None
    """How long and how, by one worker; None: no training."""
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    """How; `extractor` is each candidate's own."""

    def key(self) -> dict[str, Any]:
        """What the vectors depend on."""
        chosen = replace(self.recognition, extractor=ExtractorConfig())
        loop = None if self.loop is None else asdict(self.loop)
        return {'rows': _digest(self.rows), 'labels': _digest(self.labels), 'loop': loop, 'recognition': asdict(chosen)}


def embed_pool(
    candidates: Sequence[Candidate],
    source: Source,
    rows: np.ndarray,
    out: Path,
    *,
    workers: int,
    batch: int = 64,
    threads: int = 1,
    seed: int = 0,
    tuning: Tuning | None = None,
    stage: str = '',
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Embeds pictures by every network of a pool; the same vectors whatever the number of workers.

    Args:
        candidates: the pool.
        source: (N, C, H, W) uint8 pictures.
        rows: which rows, in which order.
        out: folder of the tables, `length-<length>.parquet` with columns model, row (of the source) and vector, in the
            order of the candidates; and of the records, `models.json`. It may hold an earlier run's: networks that are
            there with the same configuration, seed and pictures are not embedded again.
        workers: actors that work side by side; 0: this process, without Ray.
        batch: pictures of a forward pass; the last one is filled up.
        threads: of each actor, which takes as many CPUs.
        seed: of the weights, with each candidate's own.
        tuning: what each network does with a labelled set first.
        stage: name for the dashboards.
        progress: called with (done, total, 'models').

    Returns:
        One record a candidate, in their order: model, length, native (length before a dense layer), parameters, weights
        ('random', a file, 'saved' ...), tuned (steps of training), seconds, images_per_s (without building and tuning), and
        error: '' or why it gave no vectors. A network that fails is recorded so and tried again by the next run; the others
        go on.

    Raises:
        ValueError: two candidates of one name, no rows, a tuning set that shares rows with those embedded or wants workers.
    """
    _check(candidates, rows, tuning)
    out.mkdir(parents=True, exist_ok=True)
    common = [_identity(source), _digest(rows), batch, seed, None if tuning is None else tuning.key()]
    keys = {one.name: _key([_of(one), *common]) for one in candidates}
    earlier = [one for one in read_records(out) if not one['error'] and keys.get(one['model']) == one['key']]
    records = {one['model']: one for one in earlier if _stored(out, one)}
    waiting = [one for one in candidates if one.name not in records]
    start, done = time.monotonic(), 0
    for record, vectors in _answers(waiting, (source, rows, batch, threads, seed, tuning), workers, threads):
        name = record['model']
        record['key'] = keys[name]
        if vectors is not None:
            _write_part(out, record, np.asarray(rows, np.int64), vectors)
        records[name] = record
        _write_records(out, [records[one.name] for one in candidates if one.name in records])
        done += len(rows)
        gauges.emit('fpray_queries_seen', done, stage=stage)
        gauges.emit('fpray_queries_per_second', done / max(1e-9, time.monotonic() - start), stage=stage)
        if progress is not None:
            progress(len(records), len(candidates), 'models')
    ordered = [records[one.name] for one in candidates]
    _merge(out, ordered)
    _write_records(out, ordered)
    return ordered


def read_records(out: Path) -> list[dict[str, Any]]:
    """The records that `embed_pool` returned, or those of the networks so far; [] if there are none."""
    path = out / RECORDS
    return json.loads(path.read_text()) if path.exists() else []


def _write_records(out: Path, records: list[dict[str, Any]]) -> None:
    write_atomically(out / RECORDS, json.dumps(records, indent=1) + '\n')


def read_vectors(out: Path, length: int, model: str) -> np.ndarray:
    """(n, length) float32 vectors of one network, in the order of the rows that were embedded.

    Raises:
        LookupError: the table has no such network.
    """
    with pq.ParquetFile(_table(out, length)) as table:
        names = _names(table)
        if model not in names:
            raise LookupError(f'{_table(out, length)} has no network {model!r}')
        column = table.read_row_group(names.index(model), columns=['vector'])['vector'].combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(-1, length)


def _check(candidates: Sequence[Candidate], rows: np.ndarray, tuning: Tuning | None) -> None:
    names = [one.name for one in candidates]
    if len(set(names)) < len(names):
        raise ValueError(f'two candidates are called {next(name for name in names if names.count(name) > 1)}')
    if len(rows) == 0:
        raise ValueError('no pictures to embed')
    if tuning is not None and np.intersect1d(tuning.rows, rows).size:
        raise ValueError('the tuning set shares pictures with those embedded')
    if tuning is not None and tuning.loop is not None and tuning.loop.workers > 1:
        raise ValueError('a network of the pool is tuned by one worker')


# Who embeds ----------------------------------------------------------------------------------------------------


def _answers(waiting: Sequence[Candidate], arguments: tuple[Any, ...], workers: int, threads: int) -> Iterator[Answer]:
    """The candidates' answers as they come. An actor whose process died took its network with it, and is replaced."""
    if workers == 0 or not waiting:
        worker = _Worker(*arguments) if waiting else None
        yield from (worker.answer(one) for one in waiting if worker is not None)
        return
    made: Any = ray.remote(_Worker)
    made = made.options(num_cpus=threads)
    left = deque(waiting)
    flying: dict[Any, tuple[Any, Candidate]] = {}
    crew: set[Any] = set()
    try:
        for _ in range(min(workers, len(waiting))):
            _send(made.remote(*arguments), left, flying, crew)
        while flying:
            ready, _ = ray.wait(list(flying), num_returns=1)
            actor, candidate = flying.pop(ready[0])
            try:
                answer = ray.get(ready[0])
            except ray.exceptions.RayActorError as fault:
                crew.discard(actor)
                answer = (_record(candidate) | {'error': f'its process died: {_line(fault)}'}, None)
                actor = made.remote(*arguments) if left else None
            _send(actor, left, flying, crew)
            yield answer
    finally:
        for actor in crew:
            ray.kill(actor)


def _send(actor: Any, left: deque[Candidate], flying: dict[Any, tuple[Any, Candidate]], crew: set[Any]) -> None:
    """Gives an actor the next network, if there is one."""
    if actor is None:
        return
    crew.add(actor)
    if left:
        candidate = left.popleft()
        flying[actor.answer.remote(candidate)] = (actor, candidate)


class _Worker:
    """Embeds the pictures by one network after another; an actor, or an object of this process."""

    def __init__(self, source: Source, rows: np.ndarray, batch: int, threads: int, seed: int, tuning: Tuning | None) -> None:
        os.environ['OMP_NUM_THREADS'] = str(threads)
        torch.set_num_threads(threads)
        self.pixels = np.load(locate(source[:2]) / source[2] if isinstance(source, tuple) else source, mmap_mode='r')
        self.rows, self.batch, self.threads, self.seed, self.tuning = rows, batch, threads, seed, tuning

    def answer(self, candidate: Candidate) -> Answer:
        """A network's record and its vectors; whatever goes wrong with it is in the record."""
        record = _record(candidate)
        start = time.perf_counter()
        try:
            network, tuned = self._ready(candidate)
            native = network.dense.in_features if isinstance(network.dense, torch.nn.Linear) else network.length
            begin = time.perf_counter()
            vectors = self._embedded(network)
            record |= {
                'length': network.length,
                'native': native,
                'parameters': sum(one.numel() for one in network.parameters()),
                'tuned': tuned,
                'images_per_s': len(vectors) / max(1e-9, time.perf_counter() - begin),
            }
        except Exception as fault:  # third-party backbones fail in as many kinds; the others go on
            record['error'], vectors = _line(fault), None
        record['seconds'] = time.perf_counter() - start
        gc.collect()  # a network holds itself in circles, and would stay until the memory is missed
        return record, vectors

    def _ready(self, candidate: Candidate) -> tuple[Extractor, int]:
        """The network as it will embed, and the steps of its training."""
        if candidate.weights is not None:
            network = load_extractor(locate(candidate.weights))
        else:
            network = build_extractor(candidate.config, derive(self.seed, candidate.seed))
        tuning = self.tuning
        if tuning is None:
            return network, 0
        if candidate.weights is None and candidate.config.weights == 'random':
            settle(network, self.pixels[tuning.rows[: 8 * self.batch]], self.batch, self.threads)
        if tuning.loop is None:
            return network, 0
        config = replace(tuning.recognition, extractor=network.config)
        classes = int(tuning.labels.max()) + 1
        learner = RecognitionLearner(config, tuning.loop, derive(self.seed, candidate.seed), classes, start=network)
        data = Pictures(self.pixels, tuning.rows, tuning.labels)
        train(tuning.loop, learner, data, derive(self.seed, candidate.seed), on_progress=lambda _: False)
        return learner.extractor.cpu(), learner.steps

    def _embedded(self, network: Extractor) -> np.ndarray:
        """Block by block, so that the pictures never lie in memory all at once."""
        block = 16 * self.batch
        parts = [self.pixels[self.rows[first : first + block]] for first in range(0, len(self.rows), block)]
        vectors = np.concatenate([embed(network, part, self.batch, self.threads) for part in parts])
        if not np.isfinite(vectors).all():
            raise ValueError('it answers with values that are not finite')
        return vectors


def _record(candidate: Candidate) -> dict[str, Any]:
    weights = 'saved' if candidate.weights is not None else candidate.config.weights
    return {
        'model': candidate.name,
        'length': candidate.config.length,
        'native': 0,
        'parameters': 0,
        'weights': weights,
        'tuned': 0,
        'seconds': 0.0,
        'images_per_s': 0.0,
        'error': '',
    }


def _line(fault: BaseException) -> str:
    text = ' '.join(str(fault).split()) or type(fault).__name__
    return text[:300]


# The tables ----------------------------------------------------------------------------------------------------


def _table(out: Path, length: int) -> Path:
    return out / f'length-{length}.parquet'


def _part(out: Path, record: dict[str, Any]) -> Path:
    return out / 'parts' / f'{record["key"]}.parquet'


def _schema(length: int, names: Sequence[str]) -> pa.Schema:
    columns = [('model', pa.string()), ('row', pa.int64()), ('vector', pa.list_(pa.float32(), length))]
    return pa.schema(columns, metadata={'models': json.dumps(list(names))})


def _names(table: pq.ParquetFile) -> list[str]:
    """The network of each row group."""
    found: list[str] = json.loads(table.schema_arrow.metadata[b'models'])
    return found


def _write_part(out: Path, record: dict[str, Any], rows: np.ndarray, vectors: np.ndarray) -> None:
    path = _part(out, record)
    path.parent.mkdir(exist_ok=True)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    columns = [pa.array([record['model']] * len(rows)), pa.array(rows), flat]
    table = pa.Table.from_arrays(columns, schema=_schema(vectors.shape[1], [record['model']]))
    temporary = path.with_suffix('.tmp')
    pq.write_table(table, temporary, row_group_size=len(rows))
    os.replace(temporary, path)


def _stored(out: Path, record: dict[str, Any]) -> bool:
    """Whether a network's vectors lie in a part or in its length's table."""
    if _part(out, record).exists():
        return True
    path = _table(out, record['length'])
    if not path.exists():
        return False
    with pq.ParquetFile(path) as table:
        return record['model'] in _names(table)


def _merge(out: Path, records: Sequence[dict[str, Any]]) -> None:
    """One table a length from the parts and the table before; then the parts go. One row group in memory at a time."""
    for length in sorted({one['length'] for one in records if not one['error']}):
        here = [one for one in records if one['length'] == length and not one['error']]
        names, path = [one['model'] for one in here], _table(out, length)
        temporary = path.with_suffix('.tmp')
        with pq.ParquetWriter(temporary, _schema(length, names)) as writer:
            for one in here:
                group = _group(out, one).replace_schema_metadata(writer.schema.metadata)
                writer.write_table(group, row_group_size=len(group))
        os.replace(temporary, path)
    shutil.rmtree(out / 'parts', ignore_errors=True)


def _group(out: Path, record: dict[str, Any]) -> pa.Table:
    if _part(out, record).exists():
        return pq.read_table(_part(out, record))
    with pq.ParquetFile(_table(out, record['length'])) as table:
        return table.read_row_group(_names(table).index(record['model']))


# What the vectors depend on ------------------------------------------------------------------------------------


def _of(candidate: Candidate) -> dict[str, Any]:
    place = candidate.weights
    saved = place[1] if isinstance(place, tuple) else None if place is None else _identity(place)
    return {'name': candidate.name, 'config': asdict(candidate.config), 'seed': candidate.seed, 'weights': saved}


def _identity(source: Source | Place) -> list[Any]:
    """Of a published stage its key; of anything else where it lies and when it changed."""
    if isinstance(source, tuple):
        return [str(part) for part in source[1:] if not isinstance(part, Store)]
    state = Path(source).stat()
    return [str(source), state.st_size, state.st_mtime_ns]


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, np.int64).tobytes()).hexdigest()


def _key(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]
