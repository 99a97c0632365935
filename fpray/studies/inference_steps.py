"""The steps of model inference: each reads what earlier ones wrote, and writes its own results into an empty folder."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks.attributes import (
    Answers,
    Digits,
    ask_mnist_net,
    cross_infer_attributes,
    draw_networks,
    part_digits,
    train_one,
)
from fpray.attacks.model_inference import Fitted, calibrate, fit, load_fitted, outsiders, project, unknown_score
from fpray.data.augment import align, sensor
from fpray.data.digits import load_digits
from fpray.data.groups import Groups, labels_of, places
from fpray.data.imageset import ImageSet, read_samples
from fpray.distributed.embed import RECORDS, Candidate, Tuning, embed_pool, read_records, read_vectors
from fpray.distributed.score import file_of
from fpray.distributed.tasks import run_tasks
from fpray.errors import UserError
from fpray.models.config import AttributeNetConfig
from fpray.models.mnist_net import FILE as MNIST_NET_FILE
from fpray.store import Context
from fpray.studies.embedding_config import NO_ADAPT, REFERENCES, TEMPLATE
from fpray.studies.groups import no_copies, read_groups
from fpray.studies.inference_config import PRIMARY, SAME_IDENT, SAME_PIPELINE
from fpray.studies.membership import rate_dict
from fpray.studies.recognition_steps import read_extractor
from fpray.studies.steps import derive_seed
from fpray.training.config import AttributeTraining
from fpray.training.recognition import embed

Labelled = tuple[np.ndarray, np.ndarray]  # vectors (n, length), and the candidate of each (n,)
COPIES = 'copies.json'
ASKING = ('attacker', 'threshold', 'victims')  # groups whose pictures are embedded
CALIBRATING = 0.25  # of a folder's pictures; the others are learnt from
ON_THE_MAP = 120  # vectors a network
THUMB = 8  # px a side of what pictures alone are told apart by
LITE_PACKAGE = '{}_pytorch_model'  # of the module that brings weights, by the network's name


def log_columns(classes: int) -> list[str]:
    """Names of the log-probabilities' columns."""
    return [f'log_{number}' for number in range(classes)]


# Pictures of another pipeline -------------------------------------------------------------------------------------


def pipeline(context: Context) -> None:
    """reference.npy, calibration.npy: (N, C, H, W) uint8, the attacker's pictures from elsewhere.

    The attacker's and the threshold people's own pictures through another sensor or alignment; or a folder's, a quarter
    of which, drawn by chance, calibrates. copies.json: how many of these were left out, being copies of the set's own.
    """
    config, everyone = context.config, ImageSet.load(context.inputs['pictures'])
    groups = read_groups(context.inputs['people'])
    if config['how'] != 'folder':
        for name, group in (('reference', 'attacker'), ('calibration', 'threshold')):
            changed = through(np.asarray(everyone.pixels[groups.pictures(group)]), config['how'])
            np.save(context.out / f'{name}.npy', changed)
        return
    found = read_samples(context.settings['folders'][config['folder']], config['data'], context.scratch / 'set',
                         lambda done, all_: context.progress(done, all_, 'pictures'))
    if found.pixels.shape[1:] != everyone.pixels.shape[1:]:
        raise UserError(f'--attacker.{config["folder"]}: pictures of {found.pixels.shape[1:]}, those of the set are '
                        f'{everyone.pixels.shape[1:]} (channels, height, width)', 'choose --data.resize so that they agree')
    own = no_copies(np.asarray(found.pixels), everyone, groups)
    if own.sum() < config['least']:
        raise UserError(f'--attacker.{config["folder"]}: {own.sum()} pictures, {(~own).sum()} copies of the set apart',
                        f'give {config["least"]} or more, so that a quarter of them calibrates')
    (context.out / COPIES).write_text(json.dumps(int((~own).sum())))
    order = np.random.default_rng([config['seed']]).permutation(np.flatnonzero(own))
    cut = int(np.ceil(CALIBRATING * len(order)))
    for name, rows in (('calibration', order[:cut]), ('reference', order[cut:])):
        np.save(context.out / f'{name}.npy', np.asarray(found.pixels[np.sort(rows)]))


def least_pictures(alarms: float, candidates: int) -> int:
    """Of a folder, so that a threshold of so few alarms can be set on a quarter of them, embedded by every candidate."""
    return math.ceil(math.ceil(1 / alarms - 1 - 1e-9) / candidates / CALIBRATING)


def through(pixels: np.ndarray, how: str) -> np.ndarray:
    """(N, C, H, W) uint8 through another sensor ('sensor'), or as faces aligned by 'landmarks' or 'box'."""
    if how == 'sensor':
        return sensor(pixels, 'other')
    if pixels.shape[2] != pixels.shape[3]:
        raise UserError(f'--attacker.pipeline {how}: pictures of {pixels.shape[2:]} px', 'give square ones (--data.resize)')
    return align(pixels, how)[0]  # type: ignore[arg-type]


# Vectors ----------------------------------------------------------------------------------------------------------


def asked_rows(groups: Groups, group: str) -> np.ndarray:
    """Rows of a group's templates and references: what is asked about."""
    return groups.pictures(group, 0, TEMPLATE + REFERENCES)


def vectors(context: Context) -> None:
    """rows.npy, No-adapt.npy: vectors of all pictures of the attacker, the threshold people and the victims; asked.npy,
    FT-1.npy, ...: of the templates and references of the last two at each rung; CONDITION-reference.npy and
    CONDITION-calibration.npy: of other pipelines' pictures. All by one network, all (n, length) float32."""
    everyone, groups = ImageSet.load(context.inputs['pictures']), read_groups(context.inputs['people'])
    threads, network = context.config['threads'], read_extractor(context.inputs['extractor'])
    rows = np.concatenate([groups.pictures(group) for group in ASKING])
    asked = np.concatenate([asked_rows(groups, group) for group in ASKING[1:]])
    jobs: list[tuple[str, Any, np.ndarray]] = [(NO_ADAPT, network, np.asarray(everyone.pixels[rows]))]
    for name, folder in context.inputs.items():
        if name.startswith('pipeline/'):
            jobs += [(f'{name.removeprefix("pipeline/")}-{part}', network, np.load(folder / f'{part}.npy', mmap_mode='r'))
                     for part in ('reference', 'calibration')]
    jobs += [(rung, rung, np.asarray(everyone.pixels[asked])) for rung in context.config['rungs']]
    total, done = sum(len(pixels) for _, _, pixels in jobs), 0
    for name, which, pixels in jobs:
        asker = read_extractor(context.inputs['ladder'], which) if isinstance(which, str) else which
        np.save(context.out / f'{name}.npy', embed(asker, pixels, threads=threads))
        done += len(pixels)
        context.progress(done, total, 'pictures')
    np.save(context.out / 'rows.npy', rows)
    np.save(context.out / 'asked.npy', asked)


class Vectors:
    """What `vectors` wrote of one network, by rows of the set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, rows: np.ndarray, rung: str = NO_ADAPT) -> np.ndarray:
        """(n, length) of these rows at a rung."""
        known = np.load(self.folder / ('rows.npy' if rung == NO_ADAPT else 'asked.npy'))
        return np.load(self.folder / f'{rung}.npy', mmap_mode='r')[places(known, rows)]

    def elsewhere(self, condition: str, part: str) -> np.ndarray | None:
        """Those of another pipeline's 'reference' or 'calibration' pictures; None: this condition has none."""
        path = self.folder / f'{condition}-{part}.npy'
        return np.load(path) if path.exists() else None


def sources(context: Context, prefix: str = 'vectors/') -> list[Vectors]:
    """The vectors of every candidate, in the order of their labels; or those under another prefix, in that of the inputs."""
    return [Vectors(folder) for name, folder in context.inputs.items() if name.startswith(prefix)]


def labelled(each: Sequence[np.ndarray]) -> Labelled:
    """The vectors of several networks behind each other, and which network made each."""
    return np.concatenate(each), np.repeat(np.arange(len(each)), [len(one) for one in each])


def material(config: Mapping[str, Any], groups: Groups, candidates: Sequence[Vectors]) -> tuple[Labelled, Labelled]:
    """(what a classifier learns from, what calibrates it) under a condition on the attacker's pictures.

    Every candidate embeds the same pictures, so that a picture says nothing about a candidate.
    """
    condition, most = config['condition'], config['vectors'] // len(candidates)
    parts: list[list[np.ndarray]] = [[found for each in candidates if (found := each.elsewhere(condition, part)) is not None]
                                     for part in ('reference', 'calibration')]
    if not parts[0]:
        rows = groups.others('victims', REFERENCES) if condition == SAME_IDENT else groups.pictures('attacker')
        parts = [[each.of(wanted) for each in candidates] for wanted in (rows, groups.pictures('threshold'))]
    learnt, held = parts
    some = np.sort(np.random.default_rng([config['seed']]).permutation(len(learnt[0]))[:most])
    return labelled([each[some] for each in learnt]), labelled(held)


# Classifiers ------------------------------------------------------------------------------------------------------


def classifier(context: Context) -> None:
    """One folder a kind, as `Fitted.save` writes it; learnt.json: the candidates' names, and how much was learnt from."""
    config, candidates = context.config, sources(context)
    learnt, held = material(config, read_groups(context.inputs['people']), candidates)
    away: list[np.ndarray] = []
    for number, kind in enumerate(config['kinds']):
        fitted = fit(kind, *learnt, len(candidates), derive_seed(config['seed'], kind), config['classifier'])
        away = away or outsiders(fitted, *learnt)  # no kind of classifier has a part in it
        calibrate(fitted, *held, config['alarms'], away).save(context.out / kind)
        context.progress(number + 1, len(config['kinds']), 'classifiers')
    (context.out / 'learnt.json').write_text(json.dumps({
        'names': config['names'], 'vectors': len(learnt[0]), 'calibration': len(held[0])}))


def said(fitted: Fitted, asked: np.ndarray, rows: np.ndarray, **facts: Any) -> pd.DataFrame:
    """A table of a classifier's answers: one row a vector, its log-probabilities and how unlike all candidates it is."""
    logs = fitted.log_probabilities(asked)
    table = pd.DataFrame(logs.astype(np.float32), columns=log_columns(fitted.classes))
    unlike = unknown_score(fitted, asked)
    return table.assign(row=rows, unknown=unlike, alarm=unlike > fitted.limit, changed=unlike > fitted.threshold, **facts)


def answers(context: Context) -> None:
    """answers.parquet: what every classifier says about every vector of victims and threshold people, at every rung."""
    config, candidates = context.config, sources(context)
    groups, found = read_groups(context.inputs['people']), []
    cells = [(condition, kind) for condition in config['conditions'] for kind in config['kinds']]
    for number, (condition, kind) in enumerate(cells):
        fitted = load_fitted(context.inputs[f'classifier/{condition}'] / kind)
        for group in ASKING[1:]:
            rows = asked_rows(groups, group)
            found += [said(fitted, each.of(rows, rung), rows, condition=condition, kind=kind, rung=rung, network=network,
                           group=group) for rung in config['rungs'] for network, each in enumerate(candidates)]
        context.progress(number + 1, len(cells), 'cells')
    pd.concat(found, ignore_index=True).to_parquet(context.out / 'answers.parquet', index=False)


def unknown(context: Context) -> None:
    """unknown.parquet: how unlike the pool the victims' vectors are: of each candidate left out of it in turn, of those
    that stay, as published and adapted to the headline's rung, and of twins. The score is the same for every kind of
    classifier."""
    config, candidates = context.config, sources(context)
    groups, found, everyone = read_groups(context.inputs['people']), [], list(enumerate(candidates))
    rows = asked_rows(groups, 'victims')
    pools = [(out, [each for each in everyone if each[0] != out]) for out in range(len(candidates))]
    twins = list(enumerate(sources(context, 'twin/')))
    for out, pool in [*(pools if len(candidates) > 2 else []), *([(-1, everyone)] if twins else [])]:
        fitted = _footprint(config, groups, [each for _, each in pool])
        found += [_unlike(fitted, each.of(rows, rung), rows, side='known', pool=out, network=number, rung=rung)
                  for rung in dict.fromkeys((NO_ADAPT, config['rung'])) for number, each in pool]
        side, strangers = ('twin', twins) if out < 0 else ('left out', everyone[out:out + 1])
        found += [_unlike(fitted, each.of(rows), rows, side=side, pool=out, network=number, rung=NO_ADAPT)
                  for number, each in strangers]
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(
        columns=['row', 'score', 'alarm', 'side', 'pool', 'network', 'rung'])
    table.to_parquet(context.out / 'unknown.parquet', index=False)


def _footprint(config: Mapping[str, Any], groups: Groups, pool: Sequence[Vectors]) -> Fitted:
    """A pool's footprints with their thresholds; the cheapest classifier, for none is asked."""
    learnt, held = material(config, groups, pool)
    fitted = fit('nearest', *learnt, len(pool), 0, config['classifier'])
    return calibrate(fitted, *held, config['alarms'], outsiders(fitted, *learnt))


def _unlike(fitted: Fitted, asked: np.ndarray, rows: np.ndarray, **facts: Any) -> pd.DataFrame:
    score = unknown_score(fitted, asked)
    return pd.DataFrame({'row': rows, 'score': score, 'alarm': score > fitted.limit}).assign(**facts)


def plane(context: Context) -> None:
    """places.npz: Fig. 1's map of the victims' vectors by the unadapted candidates, and which network made each."""
    config, candidates = context.config, sources(context)
    rows = asked_rows(read_groups(context.inputs['people']), 'victims')
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), ON_THE_MAP)).astype(int))]
    learnt, network = labelled([each.of(some) for each in candidates])
    np.savez(context.out / 'places.npz', places=project(learnt, config['seed'], config['axis']), network=network)


# Controls ---------------------------------------------------------------------------------------------------------


def placebo(context: Context) -> None:
    """placebo.parquet: the headline's cell by classifiers that learnt shuffled labels, one deal each; pictures.parquet: by
    one that saw the pictures themselves, shrunk, in place of their vectors."""
    config, candidates = context.config, sources(context)
    groups = read_groups(context.inputs['people'])
    rows = asked_rows(groups, 'victims')
    (learnt, labels), _ = material(config, groups, candidates)
    asked = [each.of(rows, config['rung']) for each in candidates]
    found = []
    for deal in range(config['deals']):
        seed = derive_seed(config['seed'], str(deal))
        shuffled = np.random.default_rng([seed]).permutation(labels)
        fitted = fit(PRIMARY, learnt, shuffled, len(candidates), seed, config['classifier'])
        found += [said(fitted, each, rows, deal=deal, network=number) for number, each in enumerate(asked)]
        context.progress(deal + 1, config['deals'], 'deals')
    pd.concat(found, ignore_index=True).to_parquet(context.out / 'placebo.parquet', index=False)
    pixels = ImageSet.load(context.inputs['pictures']).pixels
    looks, wanted = thumbnails(np.asarray(pixels[groups.pictures('attacker')])), thumbnails(np.asarray(pixels[rows]))
    alone = fit('linear', *labelled([looks] * len(candidates)), len(candidates), 0, config['classifier'])
    told = pd.concat([said(alone, wanted, rows, network=number) for number in range(len(candidates))], ignore_index=True)
    told.to_parquet(context.out / 'pictures.parquet', index=False)


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """(N, 64) float32: means over an 8 x 8 grid of (N, C, H, W) pictures, channels averaged."""
    gray = pixels.mean(axis=1, dtype=np.float32)
    rows = [part.mean(axis=1) for part in np.array_split(gray, THUMB, axis=1)]
    cells = [part.mean(axis=2) for part in np.array_split(np.stack(rows, axis=1), THUMB, axis=2)]
    return np.stack(cells, axis=2).reshape(len(pixels), -1)


def twins(context: Context) -> None:
    """twins.parquet: what the headline's classifier calls vectors of a candidate's twin; both.parquet: what a classifier of
    candidates and twins calls either. A twin is the same architecture, trained alike from other first weights."""
    config, candidates, others = context.config, sources(context), sources(context, 'twin/')
    groups = read_groups(context.inputs['people'])
    rows = asked_rows(groups, 'victims')
    fitted = load_fitted(context.inputs['classifier'] / PRIMARY)
    pd.concat([said(fitted, each.of(rows), rows, network=number) for number, each in enumerate(others)],
              ignore_index=True).to_parquet(context.out / 'twins.parquet', index=False)
    everyone = [*candidates, *others]
    own = {**config, 'condition': SAME_PIPELINE, 'vectors': 2 * config['vectors']}  # twins have no others
    learnt, held = material(own, groups, everyone)
    both = fit(PRIMARY, *learnt, len(everyone), config['seed'], config['classifier'])
    both = calibrate(both, *held, config['alarms'])
    pd.concat([said(both, each.of(rows), rows, network=number) for number, each in enumerate(everyone)],
              ignore_index=True).to_parquet(context.out / 'both.parquet', index=False)


# The pool of Table 4 ----------------------------------------------------------------------------------------------


def installed(names: Sequence[str]) -> list[str]:
    """Those of the networks with weights in a package whose package is there."""
    return [name for name in names if importlib.util.find_spec(LITE_PACKAGE.format(name.replace('-', '_')))]


def pool_rows(groups: Groups, images: int, seed: int) -> dict[str, np.ndarray]:
    """Group -> rows: about so many pictures in all, half of them the attacker's, a quarter each of those that calibrate and
    of the victims, of as many people as can be."""
    shares, rng = {'attacker': 0.5, 'threshold': 0.25, 'victims': 0.25}, np.random.default_rng([seed])
    found = {}
    for group, part in shares.items():
        identities = groups.of(group)
        each = [rng.permutation(groups.rows[identity]) for identity in identities]
        turns = [row for turn in range(max(map(len, each))) for row in (one[turn] for one in each if turn < len(one))]
        found[group] = np.sort(np.array(turns[:max(2, int(images * part))], np.int64))
    return found


def pool_vectors(context: Context) -> None:
    """The pool's vectors, a Parquet table a length; models.json: who was embedded, how fast, and who failed; rows.json.

    What is done when the study is killed is not done again.
    """
    config, everyone = context.config, ImageSet.load(context.inputs['pictures'])
    groups, (_, channels, height, width) = read_groups(context.inputs['people']), everyone.pixels.shape
    rows = pool_rows(groups, config['images'], config['seed'])
    learnt = groups.pictures('public')
    tuning = Tuning(learnt, labels_of(everyone.records, learnt)[0], **(config['tuning'] or {}))
    candidates = [Candidate(each['name'], replace(each['extractor'], image=(height, width), channels=channels), each['seed'])
                  for each in config['members']]
    embed_pool(candidates, file_of(context.place('pictures'), 'pixels.npy'), np.concatenate(list(rows.values())),
               context.scratch, workers=context.settings.get('actors', 1), batch=config['batch'], threads=config['threads'],
               seed=config['seed'], tuning=tuning, stage=context.name, progress=context.progress)
    for path in (*context.scratch.glob('*.parquet'), context.scratch / RECORDS):
        shutil.move(path, context.out)
    (context.out / 'rows.json').write_text(json.dumps({group: each.tolist() for group, each in rows.items()}))


def pool(context: Context) -> None:
    """A classifier a length (LENGTH/), names.json; answers.parquet: what they say of the victims' vectors, twins' too."""
    config, folder = context.config, context.inputs['vectors']
    rows = {group: np.array(each) for group, each in json.loads((folder / 'rows.json').read_text()).items()}
    cuts = np.cumsum([len(each) for each in rows.values()])[:-1]
    ready = {row['model'] for row in read_records(folder) if not row['error']}
    names: dict[str, list[str]] = {}
    for member in config['members']:
        if member['name'] in ready:
            names.setdefault(str(member['length']), []).append(member['name'])
    names, found = {length: each for length, each in names.items() if len(each) > 1}, []
    for number, (length, known) in enumerate(names.items()):
        def parts(name: str, length: str = length) -> list[np.ndarray]:
            return np.split(read_vectors(folder, int(length), name), cuts)

        learnt, held, asked = zip(*map(parts, known), strict=True)
        reference = labelled(learnt)
        fitted = fit(PRIMARY, *reference, len(known), derive_seed(config['seed'], length), config['classifier'])
        fitted = calibrate(fitted, *labelled(held), config['alarms'], outsiders(fitted, *reference))
        fitted.save(context.out / length)
        twins = [(at, f'{name} (twin)') for at, name in enumerate(known) if f'{name} (twin)' in ready]
        for twin, some in ((False, list(enumerate(asked))), (True, [(at, parts(name)[2]) for at, name in twins])):
            for at, vectors_ in some:
                table = said(fitted, vectors_, rows['victims'], length=int(length), network=known[at], twin=twin)
                best = table[log_columns(len(known))].to_numpy().argmax(axis=1)
                found.append(table[['row', 'alarm', 'length', 'network', 'twin']].assign(said=[known[i] for i in best]))
        context.progress(number + 1, len(names), 'lengths')
    pd.concat(found, ignore_index=True).to_parquet(context.out / 'answers.parquet', index=False)
    (context.out / 'names.json').write_text(json.dumps(names))
    (context.out / 'members.json').write_text(json.dumps(config['members']))
    shutil.copyfile(folder / RECORDS, context.out / RECORDS)


# The zoo of Table 1 -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZooTask:
    """What a worker needs for one network of the zoo, trained or read; digits are read once a process."""

    config: AttributeNetConfig | None
    seed: int
    training: AttributeTraining
    folder: str
    """Of MNIST's files; '' for scikit-learn's digits."""
    digits_seed: int
    path: str = ''
    """Of a network of MNIST-NET; '': it is trained as configured."""


def zoo(context: Context) -> None:
    """networks.json, and of each embedding length LENGTH.npz: what every network of the zoo says to the query digits.

    Networks are trained, or MNIST-NET's asked, as Ray tasks. What is done when the study is killed is not done again.
    """
    folder, tasks = context.settings['folders'].get('digits', ''), zoo_tasks(context)
    kept = context.scratch / 'networks'
    kept.mkdir(parents=True, exist_ok=True)
    left = [number for number in range(len(tasks)) if not (kept / f'{number}.npz').exists()]
    for done, (at, answer) in enumerate(run_tasks(zoo_network, [(tasks[number],) for number in left])):
        path = kept / f'{left[at]}.npz'
        with open(path.with_suffix('.part'), 'wb') as file:
            np.savez(file, embeddings=answer.embeddings, probabilities=answer.probabilities, accuracy=answer.accuracy,
                     facts=json.dumps({'config': asdict(answer.config), 'seed': answer.seed}))
        path.with_suffix('.part').replace(path)
        context.keep(path)
        context.progress(len(tasks) - len(left) + done + 1, len(tasks), 'networks')
    bundle(context.out, [kept / f'{number}.npz' for number in range(len(tasks))], load_digits(folder),
           bool(context.config['mnist_net']))


def zoo_tasks(context: Context) -> list[ZooTask]:
    """The networks to train, or those drawn from MNIST-NET.

    Raises:
        UserError: the folder has fewer networks than are asked for.
    """
    config, folders = context.config, context.settings['folders']
    common = config['training'], folders.get('digits', ''), config['seed'] % 2**32
    if not config['mnist_net']:
        drawn = draw_networks(config['networks'], derive_seed(config['seed'], 'draw') % 2**32)
        return [ZooTask(each, derive_seed(config['seed'], str(number)), *common) for number, each in enumerate(drawn)]
    found = sorted(Path(folders['mnist_net']).rglob(MNIST_NET_FILE))
    if len(found) < config['networks']:
        raise UserError(f'--zoo.mnist-net {folders["mnist_net"]}: {len(found)} networks ({MNIST_NET_FILE}), '
                        f'{config["networks"]} are asked for', 'name the whole archive, or lower --zoo.networks')
    some = np.sort(np.random.default_rng([config['seed']]).permutation(len(found))[:config['networks']])
    return [ZooTask(None, 0, *common, str(found[number])) for number in some]


def bundle(out: Path, parts: Sequence[Path], digits: Any, downloaded: bool) -> None:
    """networks.json and LENGTH.npz from one file a network."""
    read = [dict(np.load(path)) for path in parts]
    facts = [json.loads(str(each['facts'])) for each in read]
    for length in sorted({each['config']['embedding'] for each in facts}):
        mine = [number for number, each in enumerate(facts) if each['config']['embedding'] == length]
        np.savez(out / f'{length}.npz', number=mine, **{name: np.stack([read[at][name] for at in mine])
                                                        for name in ('embeddings', 'probabilities', 'accuracy')})
    (out / 'networks.json').write_text(json.dumps({
        'digits': digits.name, 'stand_in': digits.stand_in, 'pictures': len(digits.pixels), 'mnist_net': downloaded,
        'networks': facts}))


def zoo_network(task: ZooTask) -> Answers:
    """One network of the zoo, trained or read, and asked."""
    digits = _digits(task.folder, task.digits_seed)
    if task.config is None:
        return ask_mnist_net(task.path, digits, task.training.threads)
    return train_one(task.config, digits, task.seed, task.training)


@functools.lru_cache(maxsize=1)
def _digits(folder: str, seed: int) -> Digits:
    found = load_digits(folder)
    return part_digits(found.pixels, found.labels, seed)


def read_zoo(folder: Path) -> list[Answers]:
    """The answers of every network of a zoo, in the order in which they were drawn."""
    listed = json.loads((folder / 'networks.json').read_text())['networks']
    found: dict[int, Answers] = {}
    for path in sorted(folder.glob('*.npz')):
        with np.load(path) as kept:
            each = {name: kept[name] for name in kept.files}
        for at, number in enumerate(each['number']):
            facts = listed[number]
            found[int(number)] = Answers(AttributeNetConfig(**facts['config']), facts['seed'], each['embeddings'][at],
                                         each['probabilities'][at], float(each['accuracy'][at]))
    return [found[number] for number in sorted(found)]


def attributes(context: Context) -> None:
    """attributes.json: Table 1, each attribute of each network inferred by what learnt from other networks."""
    config, folder = context.config, context.inputs['zoo']
    answers_ = read_zoo(folder)
    table = cross_infer_attributes(answers_, config['seed'], config['folds'], config['ranked'])
    facts = json.loads((folder / 'networks.json').read_text())
    (context.out / 'attributes.json').write_text(json.dumps({
        'table': {name: {row: rate_dict(rate) for row, rate in rows.items()} for name, rows in table.items()},
        'networks': len(answers_), 'mnist_net': facts['mnist_net'], 'digits': facts['digits'], 'stand_in': facts['stand_in'],
        'folds': config['folds'],
        'accuracy': [answer.accuracy for answer in answers_]}))


# Identification of a vector from outside --------------------------------------------------------------------------


def gather(context: Context) -> None:
    """SOURCE/LENGTH/: the classifiers that `identify` asks, and names.json: the networks that each knows, by source."""
    names: dict[str, dict[str, list[str]]] = {'candidates': {}, 'pool': {}}
    for name, folder in context.inputs.items():
        if name.startswith('classifier/'):
            length = name.removeprefix('classifier/')
            shutil.copytree(folder / PRIMARY, context.out / 'candidates' / length)
            names['candidates'][length] = json.loads((folder / 'learnt.json').read_text())['names']
    if 'pool' in context.inputs:
        names['pool'] = json.loads((context.inputs['pool'] / 'names.json').read_text())
        for length in names['pool']:
            shutil.copytree(context.inputs['pool'] / length, context.out / 'pool' / length)
    (context.out / 'names.json').write_text(json.dumps(names, indent=1))

