"""The steps of an inversion: each reads what earlier ones wrote, and writes its own results into an empty folder."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fpray.attacks.embedding_box import DlibFaces, EmbeddingBox, FolderTemplates
from fpray.attacks.model_inference import calibrate, fit, outsiders, ranges_of, unknown_score
from fpray.data import augment
from fpray.data.groups import Groups, places
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet, read_folder, read_samples
from fpray.distributed import train
from fpray.distributed.search import Choice, Outcome, SearchConfig, search
from fpray.errors import UserError
from fpray.metrics.image import dssim
from fpray.store import Context
from fpray.studies.embedding_config import REFERENCES, TEMPLATE
from fpray.studies.groups import no_copies, read_groups
from fpray.studies.inversion_config import BASELINE, IDENT, JUDGE, OTHER, SAME, Arm, LayerSearchConfig
from fpray.studies.inversion_tasks import TRAINED, ReconstructionTask, for_pairs
from fpray.studies.recognition_steps import asked_in_blocks, cosine, read_extractor, vectors_of
from fpray.studies.steps import derive_seed
from fpray.training.linear import LinearMap
from fpray.training.recognition import embed, load_extractor
from fpray.training.reconstruction import Embedded, load_reconstructor, reconstruct, save_reconstructor, solved

HELD_OUT = 2  # pictures of each identity that the adaptation does not see: how compactly they embed is a test of membership
ENOUGH_PAIRS = 6_000  # of pictures: 1 % of them are twice the false matches that resolve FMR 1 %
REAL = 'real'  # the name under which real templates are compared
IMAGE, IMPRESSION = 'same image', 'another impression'  # what a probe is compared with
GROUPS: tuple[Literal['victims', 'threshold'], ...] = ('victims', 'threshold')
LEAST = 0.05  # share of the target's vectors that must be taken for a network's before a reconstructor is trained for it
UNUSED = 'unused.json'
GUESSES = 'guesses.json'


# Pictures ---------------------------------------------------------------------------------------------------------


def cut_faces(context: Context) -> None:
    """The set with every picture's face cut out, aligned, before anything shrinks it; which had none goes to meta."""
    everyone = ImageSet.load(context.inputs['pictures'])
    pixels, found = augment.align(np.asarray(everyone.pixels), context.config['how'], context.config['size'])
    replace(everyone, pixels=pixels, meta={**everyone.meta, 'faces_missed': int((~found).sum())}).save(context.out)


def subset(context: Context) -> None:
    """The pictures of some groups as a set of their own: rows.npy, which rows of the whole set these are, and groups.json.

    Configuration: groups; identities, how many of a person at most (0: all): the division says so.
    """
    everyone, groups = ImageSet.load(context.inputs['pictures']), read_groups(context.inputs['people'])
    most = context.config['identities'] or None
    asked = {subject for group in context.config['groups'] for subject in groups.people[group]}
    fewer = replace(groups, identities={subject: found[:most] if subject in asked else found
                                        for subject, found in groups.identities.items()})
    rows = np.concatenate([fewer.pictures(group) for group in context.config['groups']])
    everyone.select(rows).save(context.out)
    np.save(context.out / 'rows.npy', rows)
    (context.out / 'groups.json').write_text(fewer.to_json())


def attacker(context: Context) -> None:
    """The pictures that the attacker holds: its own people's, a folder's, or those through another pipeline."""
    config = context.config
    everyone, groups = ImageSet.load(context.inputs['pictures']), read_groups(context.inputs['people'])
    if folder := config['folder']:
        _strangers(context, everyone, folder).save(context.out)
        return
    rows = groups.pictures('attacker')
    if config['condition'] == IDENT:
        rows = np.concatenate([groups.others('victims', REFERENCES), rows])
    mine = everyone.select(rows)
    if config['condition'] == OTHER:
        mine = replace(mine, pixels=other_pipeline(mine.pixels, config['align'], config['size']))
    mine.save(context.out)


def other_pipeline(pixels: np.ndarray, align: str, size: int) -> np.ndarray:
    """The same touch through another sensor, or the same faces cut out by the detector's box instead of by landmarks."""
    return augment.sensor(pixels, 'other') if align == 'none' else augment.align(pixels, 'box', size)[0]


def _strangers(context: Context, everyone: ImageSet, folder: str) -> ImageSet:
    """A folder's pictures, of the set's size and channels; of the set's own people none but the attacker's, nor copies of
    their pictures: meta has how many copies were left out."""
    config, where = context.config, context.settings['folders'][folder]
    read = read_samples if folder == 'unknown' else read_folder
    found = read(where, config['data'], context.scratch / folder)
    pixels = np.asarray(found.pixels)
    if config['align'] != 'none':
        pixels = augment.align(pixels, 'landmarks' if folder == 'unknown' else 'box', config['size'])[0]
    wanted = (1, config['size'], config['size']) if config['align'] != 'none' else everyone.pixels.shape[1:]
    if pixels.shape[2:] != wanted[1:]:
        raise UserError(f'--attacker.{"folder" if folder == "unknown" else "other"} {where}: pictures of '
                        f'{pixels.shape[3]} x {pixels.shape[2]} px beside {wanted[2]} x {wanted[1]}',
                        'give pictures of the set\'s size, or a --data.resize rule')
    channels = everyone.pixels.shape[1]
    if pixels.shape[1] != channels:
        pixels = np.repeat(pixels, channels, axis=1) if pixels.shape[1] == 1 else pixels.mean(
            axis=1, keepdims=True).astype(np.uint8)
    groups = read_groups(context.inputs['people'])
    away = set() if config['foreign'] else {
        subject for group, people in groups.people.items() if group != 'attacker' for subject in people}
    others = np.array([subject not in away for subject in found.records['subject']])
    own = no_copies(np.asarray(found.pixels) if folder == 'other' else pixels, everyone, groups)  # as `everyone` is cut
    if not (others & own).any():
        raise UserError(f'{where} shows nobody but people of the set\'s other groups, or copies of their pictures',
                        'give other people\'s pictures')
    copies = int((others & ~own).sum())
    return replace(found, pixels=pixels, meta={**found.meta, 'copies': copies}).select(np.flatnonzero(others & own))


# Networks ---------------------------------------------------------------------------------------------------------


def embed_by_box(context: Context) -> None:
    """vectors.npy of a network that fpray did not train: dlib's, an owner's stored templates, kept answers."""
    everyone = ImageSet.load(context.inputs['pictures'])
    kind, folders = context.config['kind'], context.settings['folders']
    if kind == 'templates':
        check_stored(everyone.records)
    if kind == 'callable':
        vectors = kept_answers(folders['answers'], np.asarray(everyone.pixels))
    else:
        box: EmbeddingBox = DlibFaces(detect=False) if kind == 'dlib' else FolderTemplates(
            folders['templates'], everyone.records)
        vectors = box.of(np.arange(len(everyone))) if isinstance(box, FolderTemplates) else asked_in_blocks(
            box, everyone.pixels, context)
    np.save(context.out / 'vectors.npy', vectors)


def check_stored(records: pd.DataFrame) -> None:
    """Refuses altered versions where an owner's stored templates are the target: they would get their original's.

    Raises:
        UserError: the set holds such versions, for want of pictures.
    """
    if records['path'].duplicated().any():
        raise UserError('too few pictures an identity for --target.templates: altered ones have no stored template',
                        'ask for fewer: --data.impressions, --data.query-impressions')


def kept_answers(path: str, pixels: np.ndarray) -> np.ndarray:
    """(n, length) float32: what a file of `inversion_study.keep` says of these pictures, found by their content.

    Raises:
        UserError: it is no such file, or lacks one of the pictures.
    """
    names, vectors = read_answers(path)
    place = {name: i for i, name in enumerate(names)}
    at = [place.get(image_id(picture), -1) for picture in pixels]
    if missing := at.count(-1):
        raise UserError(f'{path} lacks {missing} of {len(at)} pictures', 'ask the extractor about the folder that you name')
    return vectors[at]


def read_answers(path: str) -> tuple[list[str], np.ndarray]:
    """Contents of pictures (`image_id`) and (n, length) float32 vectors of them.

    Raises:
        UserError: it is no file of answers.
    """
    try:
        with np.load(path, allow_pickle=False) as known:
            names, vectors = known['image_id'].tolist(), np.asarray(known['vectors'], np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f'{path} holds no extractor\'s answers', 'name a file that invert_extractor wrote') from None
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise UserError(f'{path} does not hold one vector a picture', 'name a file that invert_extractor wrote')
    return names, vectors


# Which network? ---------------------------------------------------------------------------------------------------


def guess(context: Context) -> None:
    """guesses.json: the network that is named for every victim's stolen vector at every rung, one vector one answer.

    Only candidates whose vectors are as long as the stolen ones are asked; where one alone is, it is the answer. What the
    calibrated classifier calls 'none of these' is counted; the attacker still takes the likeliest.
    """
    config = context.config
    groups, asked = read_groups(context.inputs['asked']), Asked(context)
    stolen = {rung: asked.vectors(key)[asked.at(groups.templates())] for rung, key in config['places'].items()}
    length = next(iter(stolen.values())).shape[1]
    known = {name: vectors_of(context.inputs[f'known/{name}']) for name in config['pool']}
    able = [name for name in config['pool'] if known[name].shape[1] == length]
    answers = _told(config['told'], stolen) if config['told'] else _alone(able, stolen) if len(able) == 1 else _inferred(
        context, asked, groups, able, known, stolen)
    (context.out / GUESSES).write_text(json.dumps({
        'identities': groups.of('victims'), 'candidates': able, 'answers': answers}))


def _told(name: str, stolen: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {rung: {'named': [name] * len(vectors), 'unknown': [False] * len(vectors), 'log': None}
            for rung, vectors in stolen.items()}


def _alone(able: list[str], stolen: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return _told(able[0], stolen)


def _inferred(context: Context, asked: Asked, groups: Groups, able: list[str], known: Mapping[str, np.ndarray],
              stolen: Mapping[str, np.ndarray]) -> dict[str, Any]:
    config = context.config
    labels = np.repeat(np.arange(len(able)), [len(known[name]) for name in able])
    learnt = np.concatenate([known[name] for name in able]), labels
    fitted = fit('auxiliary', *learnt, len(able), config['seed'], config['inference'])
    others = asked.at(groups.pictures('threshold'))
    fitted = calibrate(fitted, np.concatenate([asked.vectors(name)[others] for name in able]),
                       np.repeat(np.arange(len(able)), len(others)), away=outsiders(fitted, *learnt))
    fitted.save(context.out)
    answers = {}
    for rung, vectors in stolen.items():
        log = fitted.log_probabilities(vectors)
        answers[rung] = {'named': [able[i] for i in log.argmax(axis=1)],
                         'unknown': (unknown_score(fitted, vectors) > fitted.limit).tolist(),
                         'log': np.maximum(log, -1e3).round(4).tolist()}
    return answers


def read_guesses(folder: Path) -> dict[str, Any]:
    """What `guess` wrote."""
    return dict(json.loads((folder / GUESSES).read_text()))


@dataclass
class Asked:
    """The pictures of whoever is asked about, and their vectors, by row of the whole set."""

    context: Context

    def __post_init__(self) -> None:
        self.rows = np.load(self.context.inputs['asked'] / 'rows.npy')

    @property
    def pixels(self) -> np.ndarray:
        """(n, C, H, W) uint8."""
        return ImageSet.load(self.context.inputs['asked']).pixels

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Places among the asked pictures of rows of the whole set."""
        return places(self.rows, rows)

    def vectors(self, key: str) -> np.ndarray:
        """(n, length) of one extractor."""
        return np.asarray(vectors_of(self.context.inputs[f'vectors/{key}']))

    def has(self, key: str) -> bool:
        return f'vectors/{key}' in self.context.inputs


# Reconstructors ---------------------------------------------------------------------------------------------------


def reconstructor(context: Context) -> None:
    """One reconstructor; where hardly any vector of the target was taken for its network, none is trained: unused.json."""
    config = context.config
    if _hardly_named(context):
        return
    start = time.monotonic()
    layers = tuple(json.loads((context.inputs['search'] / 'layers.json').read_text())['layers']) \
        if 'search' in context.inputs else ()
    network = context.place('network') if 'network' in context.inputs else None
    task = ReconstructionTask(
        context.place('pictures'), context.place('vectors'), network, config['rung'], config['training'], config['loop'],
        () if 'search' in context.inputs else config['depths'], layers, config['seed'], config['joint'])
    train.fit(task, config['loop'], config['seed'], context)
    facts = json.loads((context.out / TRAINED).read_text())
    (context.out / TRAINED).write_text(json.dumps({**facts, 'seconds': time.monotonic() - start}))


def linear_reconstructor(context: Context) -> None:
    """A linear reconstructor in closed form, saved as a training saves one: no layer, no loop and no seed matter."""
    if _hardly_named(context):
        return
    start = time.monotonic()
    pixels = ImageSet.load(context.inputs['pictures']).pixels
    vectors = np.asarray(vectors_of(context.inputs['vectors']))
    network = solved(for_pairs(context.config['reconstructor'], pixels, vectors), Embedded(pixels, vectors))
    save_reconstructor(network, context.out)
    (context.out / TRAINED).write_text(json.dumps({
        'pictures': len(pixels), 'images': len(pixels), 'layers': [], 'seconds': time.monotonic() - start}))


def _hardly_named(context: Context) -> bool:
    """Whether hardly any vector was taken for this network's; unused.json then says so."""
    needed = context.config['needed']
    if not needed:
        return False
    named = read_guesses(context.inputs['guess'])['answers'][context.config['place']]['named']
    if named.count(needed) >= LEAST * len(named):
        return False
    (context.out / UNUSED).write_text(json.dumps({'network': needed, 'named': named.count(needed)}))
    return True


def search_layers(context: Context) -> None:
    """layers.json: the subset of layers whose reconstructions the inferred network classifies best; the trials beside it.

    On the attacker's people alone: most train a reconstructor, the others' reconstructions are to be taken for their own
    identity, among all of these, by the nearest of their real pictures in the inferred network (section 4.2).
    """
    config = context.config
    how: LayerSearchConfig = config['search']
    network = read_extractor(context.inputs['network'], config['rung'])
    result = search({name: Choice((False, True)) for name in network.layers if name}, run_trial, SearchConfig(
        how.trials, how.rounds, rung=1.0, mode='async' if how.mode == 'async' else 'rounds', seed=config['seed'] % 2**32,
        maximise=True), config['loop'].images, context, cpus=config['loop'].threads)
    result.save(context.out)
    (context.out / 'layers.json').write_text(json.dumps({
        'layers': [name for name in network.layers if result.best.params.get(name)], 'value': result.best.value}))


def run_trial(context: Context, params: dict[str, Any], budget: int) -> Outcome:
    """One subset of layers; its value is the share of held-out reconstructions that are classified correctly."""
    config = context.config
    everyone, held = ImageSet.load(context.inputs['pictures']), held_out(context)
    network = read_extractor(context.inputs['network'], config['rung'])
    layers = tuple(name for name in network.layers if params.get(name))
    task = ReconstructionTask(
        context.place('pictures'), context.place('vectors'), context.place('network'), config['rung'], config['training'],
        replace(config['loop'], images=budget), (), layers, config['seed'], rows=np.flatnonzero(~held))
    train.fit(task, task.loop, config['seed'], context)
    return Outcome(classified(context.out, network, everyone, np.flatnonzero(held), context), budget)


def held_out(context: Context) -> np.ndarray:
    """(n,) bool: pictures of the attacker's people whom a trial's reconstructor does not learn from.

    Raises:
        UserError: too few people.
    """
    people = ImageSet.load(context.inputs['pictures']).records['subject'].to_numpy().astype(str)
    names = np.unique(people)
    order = np.random.default_rng([context.config['seed']]).permutation(len(names))
    away = names[order[:max(2, round(context.config['search'].holdout * len(names)))]]
    if len(away) > len(names) - 2:
        raise UserError('the attacker has too few people to search for layers', 'give --groups.attacker more')
    return np.isin(people, away)


def classified(folder: Path, network: Any, everyone: ImageSet, rows: np.ndarray, context: Context) -> float:
    """Share of the first pictures of identities whose reconstruction lies nearest to another picture of its own identity."""
    identity = everyone.records['identity'].to_numpy().astype(str)[rows]
    first = np.unique(identity, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(rows)), first)
    vectors = np.asarray(vectors_of(context.inputs['vectors']))[rows]
    made = reconstruct(load_reconstructor(folder), vectors[first])
    best = cosine(embed(network, made), vectors[rest]).argmax(axis=1)
    return float((identity[rest][best] == identity[first]).mean())


# From vectors to pictures -----------------------------------------------------------------------------------------


def invert(context: Context) -> None:
    """pixels-N.npy, the reconstructions of the N-th arm, and probes.parquet: whose each is, of which stolen picture."""
    asked, groups, tables = Asked(context), read_groups(context.inputs['asked']), []
    for number, arm in enumerate(context.config['arms']):
        table = probes_of(groups, arm)
        pixels = _Inverter(context, asked, groups, arm).pictures(table['row'].to_numpy())
        np.save(context.out / f'pixels-{number}.npy', pixels)
        tables.append(table.assign(arm=arm.name))
        context.progress(number + 1, len(context.config['arms']), 'attacks')
    pd.concat(tables, ignore_index=True).to_parquet(context.out / 'probes.parquet', index=False)


def probes_of(groups: Groups, arm: Arm) -> pd.DataFrame:
    """A row a stolen vector: row of the picture in the whole set, identity, subject, and the how many-th of its identity."""
    found = []
    for subject in groups.people[arm.group]:
        for identity in groups.identities[subject]:
            drawn = groups.rows[identity]
            stolen = [*drawn[:TEMPLATE], *drawn[TEMPLATE + REFERENCES:]][:arm.number]
            found += [(row, identity, subject, number) for number, row in enumerate(stolen)]
    return pd.DataFrame(found, columns=['row', 'identity', 'subject', 'number'])


@dataclass
class _Inverter:
    """One arm's way from stolen vectors to pictures."""

    context: Context
    asked: Asked
    groups: Groups
    arm: Arm

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """(n, C, H, W) uint8 of the stolen vectors of these rows."""
        from fpray.attacks import inversion as attacks

        arm, inputs, places = self.arm, self.context.inputs, self.asked.at(rows)
        if arm.name == BASELINE:
            encoder = load_extractor(inputs[f'reconstructor/{arm.network}'], 'encoder')
            return self.drawn(arm.network, embed(encoder, np.asarray(self.asked.pixels[places])))
        stolen = self.asked.vectors(arm.system)[places]
        if arm.how == 'guess':
            return self.guessed(stolen)
        if arm.how == 'network':
            return self.drawn(arm.network, self.moved(stolen))
        if arm.how == 'mean':
            return self.mean(len(rows))
        known = ImageSet.load(inputs['attacker']).pixels
        if arm.how == 'nearest':
            return attacks.nearest_image(stolen, np.asarray(vectors_of(inputs[f'known/{arm.network}'])), known)
        config = self.context.config
        seconds = json.loads((inputs['reconstructor/' + arm.network] / TRAINED).read_text())['seconds'] \
            if config['equal_time'] else 0.0
        return attacks.direct(read_extractor(inputs['network'], ''), stolen, start=attacks.mean_image(known),
                              steps=config['steps'], seconds=seconds, seed=config['seed'])

    def drawn(self, key: str, vectors: np.ndarray) -> np.ndarray:
        return reconstruct(load_reconstructor(self.context.inputs[f'reconstructor/{key}']), vectors)

    def guessed(self, stolen: np.ndarray) -> np.ndarray:
        """Each vector by the reconstructor of the network that was named for it."""
        found = read_guesses(self.context.inputs['guess'])
        rung = next(rung for rung, key in self.context.config['places'].items() if key == self.arm.system)
        named = np.array(found['answers'][rung]['named'])
        pictures = self.mean(len(stolen))
        for name in sorted(set(named)):
            mine, key = np.flatnonzero(named == name), self.stand_in(name)
            if key:
                pictures[mine] = self.drawn(key, stolen[mine])
        return pictures

    def mean(self, count: int) -> np.ndarray:
        """(count, C, H, W) uint8, the mean of the attacker's pictures again and again."""
        from fpray.attacks.inversion import mean_image

        return np.repeat(mean_image(ImageSet.load(self.context.inputs['attacker']).pixels)[None], count, axis=0)

    def stand_in(self, name: str) -> str:
        """Key of the reconstructor for a network; of one that hardly anybody's vector was taken for, a shorter training's;
        '' where there is none."""
        inputs = self.context.inputs
        if not (inputs[f'reconstructor/{name}'] / UNUSED).exists():
            return name
        brief = f'{name}/{SAME}'
        return brief if f'reconstructor/{brief}' in inputs else ''

    def moved(self, stolen: np.ndarray) -> np.ndarray:
        """The stolen vectors in the space that the reconstructor knows.

        By ranges as in section 7: those of the stolen vectors themselves, dimension by dimension, are stretched to those
        of the inferred network. By a linear map, fitted to the attacker's pictures, which both networks embedded.
        """
        from fpray.attacks.inversion import match_ranges, reordered

        arm, inputs = self.arm, self.context.inputs
        if not arm.space:
            return stolen
        if arm.space == 'reordered':
            return reordered(stolen, derive_seed(self.context.config['seed'], arm.name))
        ours = np.asarray(vectors_of(inputs[f'known/{arm.network}']))
        if arm.space == 'ranges':
            return match_ranges(stolen, ranges_of(stolen), ranges_of(ours))
        return LinearMap.fit(np.asarray(vectors_of(inputs[f'known/{arm.system}'])), ours)(stolen)


# Getting in -------------------------------------------------------------------------------------------------------

Embed = Callable[[np.ndarray], np.ndarray]


def verify(context: Context) -> None:
    """scores.parquet: every reconstruction against everybody's other impressions, with the judge and in its system.

    `python -m fpray.metrics.verification` reads the table, whose condition is what compares, a system's key or the judge;
    it also has identities and the how many-th vector. same.parquet: each against the very picture whose vector was stolen,
    genuine pairs alone. errors.parquet: a row a reconstruction, how unlike its original it is.
    """
    asked, groups = Asked(context), read_groups(context.inputs['asked'])
    records = ImageSet.load(context.inputs['asked']).records
    probes = pd.read_parquet(context.inputs['invert'] / 'probes.parquet')
    tables: dict[str, list[pd.DataFrame]] = {IMPRESSION: [], IMAGE: []}
    errors = []
    for number, arm in enumerate(context.config['arms']):
        mine = probes[probes['arm'] == arm.name].reset_index(drop=True)
        pixels = np.load(context.inputs['invert'] / f'pixels-{number}.npy')
        keys = {JUDGE} if arm.judged_alone else {arm.system, JUDGE, context.config['perceptual']}
        matchers = {key: found for key in keys if (found := matcher_of(context, asked, key)) is not None}
        seen = {key: matcher.see(pixels) for key, matcher in matchers.items()}
        for key in sorted({arm.system, JUDGE} & set(matchers)):
            for against, rows in references_of(groups, arm.group).items():
                table = compared(matchers[key], seen[key], mine, rows, records, asked)
                table = table[table['genuine']] if against == IMAGE else table
                tables[against].append(table.assign(attack=arm.name, condition=key))
        places = asked.at(mine['row'].to_numpy())
        errors.append(mine.assign(
            dssim=_or_nan(dssim(pixels, np.asarray(asked.pixels[places]))), quality=contrast(pixels), **{
                name: _or_nan(matchers[key].distance(seen[key], places) if key in matchers else None)
                for name, key in (('perceptual', context.config['perceptual']), ('distance', arm.system))}))
        context.progress(number + 1, len(context.config['arms']), 'attacks')
    _write(tables[IMPRESSION], context.out / 'scores.parquet')
    _write(tables[IMAGE], context.out / 'same.parquet')
    pd.concat(errors, ignore_index=True).to_parquet(context.out / 'errors.parquet', index=False)


def _or_nan(values: np.ndarray | None) -> np.ndarray | float:
    return np.nan if values is None else values


@dataclass(frozen=True)
class Matcher:
    """What compares pictures: by vectors, or all by itself."""

    embed: Embed | None
    """Pictures (n, C, H, W) uint8 to vectors; None: they are compared as they are."""
    asked: Asked
    vectors: np.ndarray | None
    """(m, length) of the asked pictures."""

    def see(self, pixels: np.ndarray) -> np.ndarray:
        """What is compared of (n, C, H, W) uint8 pictures: their vectors, or the pictures themselves."""
        return pixels if self.embed is None else self.embed(pixels)

    def compare(self, seen: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(n, m) similarities of what was seen to asked pictures."""
        if self.vectors is None:
            return print_similarity(seen, np.asarray(self.asked.pixels[places]))
        return cosine(seen, self.vectors[places])

    def distance(self, seen: np.ndarray, places: np.ndarray) -> np.ndarray | None:
        """(n,) Euclidean distances of vectors to those of asked pictures; None where there are none."""
        if self.vectors is None:
            return None
        return np.asarray(np.linalg.norm(seen.astype(np.float64) - self.vectors[places], axis=1))


def references_of(groups: Groups, group: str) -> dict[str, np.ndarray]:
    """What probes of a group are compared with, rows of the whole set: the templates themselves, other impressions."""
    return {IMAGE: groups.templates(group), IMPRESSION: groups.references(group, REFERENCES)}


def compared(matcher: Matcher, seen: np.ndarray, probes: pd.DataFrame, rows: np.ndarray, records: pd.DataFrame,
             asked: Asked) -> pd.DataFrame:
    """The table of all comparisons of probes, as `Matcher.see` saw them, with the references in `rows` of the whole set."""
    places = asked.at(rows)
    identity, subject = (records[name].to_numpy().astype(str)[places] for name in ('identity', 'subject'))
    similarity = matcher.compare(seen, places)
    n, m = similarity.shape
    mine = {name: np.repeat(probes[name].to_numpy(), m) for name in ('row', 'identity', 'subject', 'number')}
    return pd.DataFrame({
        'probe': mine['row'].astype(np.int32), 'reference': np.tile(rows.astype(np.int32), n),
        'probe_subject': mine['subject'], 'reference_subject': np.tile(subject, n), 'similarity': similarity.reshape(-1),
        'genuine': mine['identity'] == np.tile(identity, n), 'probe_identity': mine['identity'],
        'reference_identity': np.tile(identity, n), 'number': mine['number'].astype(np.int16)})


def _write(tables: Sequence[pd.DataFrame], path: Path) -> None:
    whole = pd.concat(tables, ignore_index=True)
    for name in ('probe_subject', 'reference_subject', 'probe_identity', 'reference_identity', 'attack', 'condition'):
        whole[name] = whole[name].astype('category')
    whole.to_parquet(path, index=False)


def matcher_of(context: Context, asked: Asked, key: str) -> Matcher | None:
    """The judge or a system that is to be got into; None where it cannot be asked about new pictures."""
    config, vectors = context.config, asked.vectors(key) if asked.has(key) else None
    kind = config['judge'] if key == JUDGE else config['kind']
    if f'network/{key}' in context.inputs:
        network = read_extractor(context.inputs[f'network/{key}'], config['rungs'].get(key, ''))
        return Matcher(lambda pixels: embed(network, pixels), asked, vectors)
    if kind == 'matcher':
        return Matcher(None, asked, None)
    if kind == 'dlib':
        return Matcher(DlibFaces(detect=False).embed, asked, vectors)
    if 'replies' not in context.settings['folders']:
        return None
    path = context.settings['folders']['replies']
    return Matcher(lambda pixels: kept_answers(path, pixels), asked, vectors)


def print_similarity(probes: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n, m) scores of the package fingerprint-recognition, which knows no embeddings."""
    from fpray.studies.fidelity import match_rows, templates_of

    made = templates_of(np.concatenate([probes, references]), None)
    templates = {n: each[0] for n, each in enumerate(made)}
    first, second = np.divmod(np.arange(len(probes) * len(references)), len(references))
    return match_rows(templates, first, second + len(probes)).reshape(len(probes), len(references))


def contrast(pixels: np.ndarray) -> np.ndarray:
    """(n,) standard deviation of each picture's gray values, 0 to 255: the quality by which a probe is acquired."""
    return np.asarray(pixels.reshape(len(pixels), -1).astype(np.float64).std(axis=1))


def quality_of(folder: Path) -> pd.DataFrame:
    """Quality of the real pictures that `real` compared: row, subject, group, quality."""
    return pd.read_parquet(folder / 'quality.parquet')


def shown_of(groups: Groups, group: str) -> int:
    """Pictures an identity that are compared with the references: the template alone, unless a threshold would then rest on
    too few pairs."""
    pairs = len(groups.of(group)) * len(groups.pictures(group, TEMPLATE))
    return 1 if group == 'victims' or pairs >= ENOUGH_PAIRS else len(groups.pictures(group))


def real(context: Context) -> None:
    """scores.parquet: real templates against real references of the victims, and (of few people all their pictures) against
    the pictures of the people who set thresholds, in every system and with the judge; quality.parquet of the templates."""
    asked, groups = Asked(context), read_groups(context.inputs['asked'])
    records = ImageSet.load(context.inputs['asked']).records
    tables = []
    for key in [*context.config['systems'], *([JUDGE] if context.config['matcher'] else [])]:
        for group in GROUPS:
            probes = probes_of(groups, Arm(REAL, key, 'network', group=group, number=shown_of(groups, group)))
            places = asked.at(probes['row'].to_numpy())
            vectors = asked.vectors(key) if asked.has(key) else None
            matcher = Matcher(None, asked, vectors)
            shown = np.asarray(asked.pixels[places]) if vectors is None else vectors[places]
            rows = groups.references(group, REFERENCES) if group == 'victims' else groups.pictures(group, TEMPLATE)
            table = compared(matcher, shown, probes, rows, records, asked)
            tables.append(table.assign(attack=f'{REAL}, {group}', condition=key))
    _write(tables, context.out / 'scores.parquet')
    seen = pd.concat([probes_of(groups, Arm(REAL, '', 'network', group=group)).assign(group=group) for group in GROUPS])
    pixels = np.asarray(asked.pixels[asked.at(seen['row'].to_numpy())])
    seen.assign(quality=contrast(pixels)).to_parquet(context.out / 'quality.parquet', index=False)
