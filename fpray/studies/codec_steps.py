"""The steps of a codec's audit: each reads what earlier ones wrote, and writes its own results into an empty folder."""

from __future__ import annotations

import importlib.util
import inspect
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks import load_attack
from fpray.attacks.codec_box import Compressed, FolderCodec
from fpray.attacks.compression import (
    LEAST_MSE,
    band_errors,
    calibrated_score,
    jpeg_bpp,
    plain_features,
    png_bpp,
    rate_and_distortion,
    recalibrated_scores,
)
from fpray.data.classical import CLASSICAL, curve_settings, encode
from fpray.data.images import contact_sheet, save_png
from fpray.data.imageset import ImageSet
from fpray.data.splits import Split, training_rows
from fpray.defences import load_defence
from fpray.defences.training import Privately, Regularised, Shorter, unchanged
from fpray.defences.twin import choose
from fpray.distributed.score import Scorer, file_of, score
from fpray.distributed.train import fit
from fpray.errors import UserError
from fpray.metrics.image import ms_ssim, mse, psnr_of, ssim
from fpray.metrics.membership import RECALIBRATED, arrays, auc_clustered, by_unit
from fpray.store import Context, Place, locate
from fpray.studies import steps
from fpray.studies.codec_config import PRIMARY, DefencesConfig
from fpray.studies.codec_tasks import CodecTask, half_of, half_rows
from fpray.studies.membership import rate_dict
from fpray.studies.tasks import read_split
from fpray.training.config import LoopConfig, RateDistortionConfig

BANDS = 4
MANY = 4_096  # pictures from which on a pool of actors measures a codec
SHOWN = 200  # unseen pictures of the rate-distortion figures, at most
SIDE_BY_SIDE = 4  # pictures that are shown at each lambda
REAL_FILES = 32  # bitstreams that are really written
COLUMNS = ('bpp', 'mse', *(f'band_{i}' for i in range(BANDS)))
ASKED = ('members', 'nonmembers', 'rehearsal_in', 'rehearsal_out')  # groups that attacks are asked about
WORST = 255.0**2  # what a codec that diverged is said to cost, in bits and in error: it keeps nothing of anybody
REFERENCE = 0  # half of the reference people that reference codecs learn from; half 1 is the population
OWN_SIDES = ('members', 'nonmembers', 'reference')  # folders of an owner's copies, under one roof


# People


def people(context: Context) -> None:
    """split.json: the audit's own division of the people, or members and non-members dealt anew among themselves."""
    config: steps.PeopleConfig = context.config['people']
    split = steps.draw(ImageSet.load(context.inputs['pictures']).records, config.data, config.split, config.seed)
    steps.check_asked(split, config.split.sizes, context.settings.get('query'))
    (context.out / 'split.json').write_text(dealt(split, context.config['deal']).to_json())


def dealt(split: Split, deal: int) -> Split:
    """Another deal of members and non-members among the same people; the groups an attack learns from stay as they are.

    So a second victim of a recipe has other members, and everything that the attacker trained serves it too.
    """
    if not deal:
        return split
    both = [*split.people['members'], *split.people['nonmembers']]
    order = np.random.default_rng([split.seed, deal]).permutation(len(both))
    members = len(split.people['members'])
    mixed = [both[i] for i in order]
    return replace(split, people={**split.people, 'members': mixed[:members], 'nonmembers': mixed[members:]})


def rows(context: Context) -> None:
    """rows.npy: all pictures that a codec is measured on; difficulty.npz: what can be seen of each one's difficulty.

    Whoever may be asked about, and the reference people whom no reference codec saw. It hangs on the people alone, so
    that another attack or defence measures nothing again; a new deal moves nobody in or out.
    """
    everyone, split = ImageSet.load(context.inputs['pictures']), read_split(context.inputs['people'])
    asked = [row for group in ASKED for subject in split.people[group] for finger in split.fingers[subject]
             for row in (*split.trained[finger], *split.unseen.get(finger, ()))]
    found = np.union1d(np.array(asked, np.int64), population_rows(split))
    np.save(context.out / 'rows.npy', found)
    pixels = np.asarray(everyone.pixels[found])
    np.savez(context.out / 'difficulty.npz', png=png_bpp(pixels), jpeg=jpeg_bpp(pixels), features=plain_features(pixels))


def population_rows(split: Split) -> np.ndarray:
    """Pictures of the reference people whom the reference codecs have not seen: the second half of them."""
    return half_rows(split, 'reference', REFERENCE + 1)


# Training


def strength(defence: str, config: DefencesConfig) -> Any:
    """How a defence changes the training, at the configured strength; None where it changes the pictures alone."""
    strengths = {'early-stop': Shorter(config.stop_at), 'regularised': Regularised(config.dropout, config.weight_decay),
                 'dp-sgd': Privately(config.private)}
    change = strengths.get(defence, load_defence(defence).change)
    return None if change is unchanged else change


def stand_in(context: Context) -> None:
    """samples.npy: drawn pictures of synthetic people that nobody is."""
    everyone, data = ImageSet.load(context.inputs['pictures']), context.config['data']
    _, channels, height, width = everyone.pixels.shape
    drawn = steps.stand_in(context.config['seed'], context.config['people'], data.fingers, data.impressions,
                           (height, width), data.ppi, context)
    np.save(context.out / 'samples.npy', np.repeat(drawn.pixels, channels, axis=1))


def codec(context: Context) -> None:
    """One codec: on a group's drawn pictures, on half of the reference people (a shadow), or defended."""
    config = context.config
    train: RateDistortionConfig = replace(config['train'], codec=replace(
        config['train'].codec, channels=np.load(context.inputs['pictures'] / 'pixels.npy', mmap_mode='r').shape[1]))
    loop: LoopConfig = config['loop']
    change = config['change']
    if change is not None:
        train, loop = change(train, loop)
    private = getattr(change, 'private', None)
    task = CodecTask(context.place('pictures'), context.place('people'),
                     context.place('samples') if 'samples' in context.inputs else None, config['group'], config['people'],
                     config['half'], train, loop, private, config['seed'])
    fit(task, loop, config['seed'], context, trainer=config['trainer'] or None)
    _, learned = task.open()
    epsilon = None
    if private is not None:
        from fpray.defences.dp_sgd import epsilon as spent

        steps_taken = -(-loop.images // loop.batch)
        epsilon = {'epsilon': spent(private, config['people'], steps_taken), 'delta': private.delta}
    (context.out / 'trained.json').write_text(json.dumps(
        {'pictures': len(learned), 'images': loop.images, 'lmbda': train.lmbda, 'privacy': epsilon}))


def choose_twin(context: Context) -> None:
    """samples.npy of the candidate that leaked least, and choice.json: what each leaked, measured on the first halves.

    The people of the second halves, of the members and of the non-members, have no say in the choice.
    """
    config, split = context.config, read_split(context.inputs['people'])
    judges = first_halves(split, config['people'])
    leaks = {}
    for name in config['candidates']:
        table = pd.read_parquet(context.inputs[f'attack/{name}'] / 'scores.parquet')
        own = table[(table['contrast'] == 'mia') & (table['replicate'] == '') & table['subject'].isin(judges)]
        own = by_unit(own.sort_values('image_id'), 'subject', 'mean')
        leaks[name] = auc_clustered(*arrays(own, 'mia'), seed=config['seed'])
    chosen = choose(leaks)
    shutil.copyfile(context.inputs[f'samples/{chosen}'] / 'samples.npy', context.out / 'samples.npy')
    save_png(contact_sheet(np.load(context.out / 'samples.npy', mmap_mode='r')[:24], 8), context.out / 'grid.png')
    (context.out / 'choice.json').write_text(json.dumps({'chosen': chosen, 'candidates': [
        {'name': name, 'text': text, 'auc': rate_dict(leaks[name])} for name, text in config['candidates'].items()]}))


def placebo_generator(context: Context) -> None:
    """A generator of the recipe that was chosen for the twin, on people whom the queries do not ask about."""
    chosen = json.loads((context.inputs['choice'] / 'choice.json').read_text())['chosen']
    steps.victim(replace(context, config={**context.config, 'gan': context.config['gans'][chosen]}))


def first_halves(split: Split, members: int | None) -> set[str]:
    """The people, members and non-members, whose scores a choice may look at; the others judge what was chosen."""
    own = split.people['members'][:members]
    others = split.people['nonmembers']
    return set(own[:len(own) // 2]) | set(others[:len(others) // 2])


# Measuring


def codec_columns(place: Place, device: str = 'cpu') -> Callable[[np.ndarray], np.ndarray]:
    """A codec as a function of pictures (n, C, H, W) uint8 to (n, 2 + BANDS): bits a pixel, MSE, band errors."""
    from fpray.training.loop import pick_device
    from fpray.training.rate_distortion import load_codec
    from fpray.training.rate_distortion import measure as ask

    network = load_codec(locate(place)).to(pick_device(device))

    def columns(pixels: np.ndarray) -> np.ndarray:
        found = ask(network, pixels)
        return answered(pixels, Compressed(found.bits, found.reconstructions))

    return columns


def measure(context: Context) -> None:
    """measures.parquet: rate, distortion and band errors of one codec on every picture that is asked about."""
    wanted, device = np.load(context.inputs['rows'] / 'rows.npy'), context.config['device']
    many = len(wanted) >= MANY and device != 'cuda'  # a GPU is the stage's own
    found = score(file_of(context.place('pictures'), 'pixels.npy'),
                  Scorer('fpray.studies.codec_steps:codec_columns', (context.place('codec'), device)), rows=wanted,
                  actors=context.settings.get('actors', 0) if many else 0, stage=context.name, progress=context.progress)
    write_measures(context, wanted, found.scores, context.config['lmbda'])


def write_measures(context: Context, measured: np.ndarray, columns: np.ndarray, lmbda: float) -> None:
    """The table of measures with the loss that the codec was trained for; a codec that diverged has the worst there is."""
    finite = np.minimum(np.nan_to_num(columns, nan=WORST, posinf=WORST), WORST)
    table = pd.DataFrame(finite, columns=list(COLUMNS)).assign(row=measured)
    table['loss'] = table['bpp'] + lmbda * table['mse']
    table.to_parquet(context.out / 'measures.parquet', index=False)


def answered(pixels: np.ndarray, answer: Compressed) -> np.ndarray:
    """(n, 2 + BANDS): bits a pixel, MSE and band errors of a codec's answer about (n, C, H, W) uint8 pictures."""
    return np.column_stack([*rate_and_distortion(pixels, answer.bits, answer.reconstructions),
                            band_errors(pixels, answer.reconstructions, BANDS)])


def measure_owner(context: Context) -> None:
    """measures.parquet of an owner's codec, from its decompressed copies and the sizes of its files, or from answers."""
    everyone, wanted = ImageSet.load(context.inputs['pictures']), np.load(context.inputs['rows'] / 'rows.npy')
    if (path := context.settings['folders']['decompressed']).endswith('.npz'):
        write_measures(context, *kept_answers(path, everyone, wanted), context.config['lmbda'])
        return
    kept, parts = [], []
    for side, mine in owner_sides(context.settings['folders']):
        box = FolderCodec(*mine)
        own = wanted[everyone.records['side'].to_numpy()[wanted] == side]
        for block in np.array_split(own, max(1, len(own) // 256)):
            pixels = np.asarray(everyone.pixels[block])
            parts.append(answered(pixels, box.compress(pixels)))
            kept.append(block)
    write_measures(context, np.concatenate(kept), np.concatenate(parts), context.config['lmbda'])


def kept_answers(path: str, everyone: ImageSet, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the wanted pictures that a file of `codec_study.ask` speaks of.

    Raises:
        UserError: it is no such file, or speaks of none of these pictures.
    """
    try:
        with np.load(path, allow_pickle=False) as known:
            names, columns = known['image_id'].tolist(), known['columns']
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f'{path} holds no codec\'s answers', 'name a file that audit_codec wrote, or two folders') from None
    place = {name: i for i, name in enumerate(names)}
    at = np.array([place.get(name, -1) for name in everyone.records['image_id'].iloc[wanted]])
    if not (at >= 0).any():
        raise UserError(f'{path} speaks of none of these pictures', 'ask the codec about the folders that you name')
    return wanted[at >= 0], columns[at[at >= 0]]


def owner_sides(folders: Mapping[str, str]) -> Iterable[tuple[str, tuple[str, str, str]]]:
    """(side, (originals, decompressed, compressed)) of every side that the owner's folders speak of.

    Raises:
        UserError: the members' or the non-members' copies are missing.
    """
    for side in OWN_SIDES:
        mine = {name: Path(folders[name], side) for name in ('decompressed', 'compressed')}
        if side in folders and all(path.is_dir() for path in mine.values()):
            yield side, (folders[side], str(mine['decompressed']), str(mine['compressed']))
        elif side != 'reference':
            missing = next(path for path in mine.values() if not path.is_dir())
            raise UserError(f'{missing} is no folder', 'lay the copies out as members/ and nonmembers/ (and reference/)')


# Attacks


class _Answers:
    """The arrays that attacks ask for by name, of the queries and of the reference people's pictures."""

    def __init__(self, context: Context, table: pd.DataFrame) -> None:
        self.context, self.rows = context, table['row'].to_numpy()
        self.split = read_split(context.inputs['people'])
        everyone = ImageSet.load(context.inputs['pictures'])
        self.population = population_rows(self.split)
        self.people = everyone.records['subject'].to_numpy().astype(str)[self.population]
        measured, size = np.load(context.inputs['rows'] / 'rows.npy'), np.load(context.inputs['rows'] / 'difficulty.npz')
        self.size = {name: pd.DataFrame(size[name], measured) for name in ('png', 'jpeg', 'features')}
        self.codecs = {name: pd.read_parquet(folder / 'measures.parquet').set_index('row')
                       for name, folder in context.inputs.items() if name.split('/')[0] in ('victim', 'reference', 'shadow')}
        self.shadows = sorted(name for name in self.codecs if name.startswith('shadow'))

    def of(self, codec: str, column: str, rows: np.ndarray) -> np.ndarray | None:
        """A column of a codec's measures; None where it was not asked about all of these pictures."""
        table = self.codecs[codec]
        return table.loc[rows, column].to_numpy() if np.isin(rows, table.index).all() else None

    def looks(self, name: str, rows: np.ndarray) -> np.ndarray:
        """What can be seen of the pictures' difficulty: (n,) sizes of files, or (n, F) features."""
        found = self.size[name].loc[rows].to_numpy()
        return found if name == 'features' else found[:, 0]

    def bands(self, codec: str) -> np.ndarray | None:
        names = [f'band_{i}' for i in range(BANDS)]
        columns = [self.of(codec, name, self.rows) for name in names]
        return None if any(one is None for one in columns) else np.column_stack(columns)  # type: ignore[arg-type]

    def shadow_losses(self, rows: np.ndarray) -> np.ndarray | None:
        found = [self.of(name, 'loss', rows) for name in self.shadows]
        return np.stack(found) if found and all(one is not None for one in found) else None  # type: ignore[arg-type]

    def population_out(self) -> np.ndarray | None:
        """(K, Z) whether shadow k has not learned from the person of picture z."""
        if not self.shadows:
            return None
        inside = [set(half_of(self.split.people['reference'], i, self.split.seed)) for i in range(len(self.shadows))]
        return np.array([[person not in each for person in self.people] for each in inside])

    def named(self) -> dict[str, np.ndarray | None]:
        """The vocabulary of `fpray.attacks.threat.Attack`, as far as this audit has it."""
        own = {name: self.of('victim', name, self.rows) for name in ('loss', 'bpp', 'mse')}
        return {**own, 'bands': self.bands('victim'), 'reference_loss': self.of('reference', 'loss', self.rows),
                'reference_bands': self.bands('reference'),
                **{name: self.looks(name, self.rows) for name in self.size},
                'shadow_losses': self.shadow_losses(self.rows),
                'population_loss': self.of('victim', 'loss', self.population),
                'population_reference_loss': self.of('reference', 'loss', self.population),
                **{f'population_{name}': self.looks(name, self.population) for name in self.size},
                'population_shadow_losses': self.shadow_losses(self.population), 'population_out': self.population_out()}


    def recalibrated(self, known: Mapping[str, np.ndarray | None]) -> pd.DataFrame | None:
        """(N, R) scores of the calibrated attack, the same draws for every codec; None where nothing calibrates it."""
        needs = {name: known[name] for name in inspect.signature(calibrated_score).parameters}
        if any(one is None for one in needs.values()):
            return None
        scores = recalibrated_scores(self.people, self.split.seed, **needs)  # type: ignore[arg-type]
        return pd.DataFrame(scores.T, columns=[f'{RECALIBRATED}{i}' for i in range(len(scores))])


def attack(context: Context) -> None:
    """scores.parquet: the scores of every attack that has what it needs, on one codec's queries.

    recalibrated.parquet, where there is a population: the primary attack's after bootstraps of it, by row of that table.
    """
    goal, split = context.config['goal'], read_split(context.inputs['people'])
    table = steps.queries(split, ImageSet.load(context.inputs['pictures']).records, goal.positives, goal.negatives,
                          goal.asked, context.config['pictures'])
    answers = _Answers(context, table)
    known = answers.named()
    found = []
    for name in context.config['attacks']:
        probe = load_attack(name)
        if all(known[need] is not None for need in probe.needs):
            asks = inspect.signature(probe.score).parameters
            scores = probe.score(**{name: known[name] for name in asks if known.get(name) is not None})
            found.append(table.assign(score=scores, attack=name, victim=goal.name, replicate=''))
    scored = pd.concat(found, ignore_index=True)
    scored.to_parquet(context.out / 'scores.parquet', index=False)
    if (again := answers.recalibrated(known)) is not None:
        again.set_axis(scored.index[scored['attack'] == PRIMARY]).to_parquet(context.out / 'recalibrated.parquet')


# Rate and distortion


def extras() -> list[str]:
    """Which optional packages are installed: a later installation measures again."""
    names = {'fingerprint': 'pyfing', 'matcher': 'fingerprint_recognition'}
    return [extra for extra, module in names.items() if importlib.util.find_spec(module)]


def rate_distortion(context: Context) -> None:
    """rate-distortion.json, and sheets of the same pictures at each lambda: the victims on people that they never saw."""
    config = context.config
    everyone, split = ImageSet.load(context.inputs['pictures']), read_split(context.inputs['people'])
    unseen = training_rows(split, 'nonmembers')
    some = np.sort(np.random.default_rng([config['seed']]).permutation(unseen)[:SHOWN])
    pixels, subjects = np.asarray(everyone.pixels[some]), everyone.records['subject'].to_numpy().astype(str)[some]
    points, means, copied = [], [], {}
    for name, (lmbda, family) in config['victims'].items():
        table = pd.read_parquet(context.inputs[f'measure/{name}'] / 'measures.parquet').set_index('row').loc[some]
        copied[name] = copies = copies_of(context, name, pixels)
        points.append(point(lmbda, family, table, pixels, copies))
        means.append({**{key: points[-1][key] for key in ('lmbda', 'family')},
                      **{key: _mean(points[-1][key]) for key in ('bpp', 'mse', 'psnr', 'ssim', 'ms_ssim')},
                      'n': len(pixels), 'n_people': len(set(subjects))})
        if name == config['headline']:
            files = bitstream(context, pixels[:REAL_FILES], table['bpp'].to_numpy()[:REAL_FILES])
    (context.out / 'rate-distortion.json').write_text(json.dumps({
        'points': points, 'means': means, 'fit': fits(points), 'classical': classical(pixels),
        'bitstream': files,
        'fidelity': fidelity(context, everyone, split, pixels, copied[config['headline']], some)}))
    for number, picture in enumerate(pixels[:SIDE_BY_SIDE]):
        row = [picture, *(rounded(copies[number]) for copies in copied.values() if copies is not None)]
        save_png(contact_sheet(np.stack(row), len(row)), context.out / f'rd-{number}.png')


def copies_of(context: Context, name: str, pixels: np.ndarray) -> np.ndarray | None:
    """(N, C, H, W) float32, 0 to 255: pictures of non-members after a codec; None where an owner's file holds none."""
    if f'codec/{name}' in context.inputs:
        return reconstructed(context.inputs[f'codec/{name}'], pixels)
    if context.settings['folders']['decompressed'].endswith('.npz'):
        return None
    mine = dict(owner_sides(context.settings['folders']))['nonmembers']
    return FolderCodec(*mine).compress(pixels).reconstructions


def point(lmbda: float, family: str, table: pd.DataFrame, pixels: np.ndarray, copies: np.ndarray | None) -> dict[str, Any]:
    """One codec's picture-by-picture rate and quality."""
    several = None if copies is None else ms_ssim(pixels, copies)
    structure = None if copies is None else ssim(pixels, copies)
    return {'lmbda': lmbda, 'family': family, 'bpp': table['bpp'].tolist(), 'mse': table['mse'].tolist(),
            'psnr': psnr_of(np.maximum(table['mse'], LEAST_MSE)).tolist(),
            'ssim': None if structure is None else structure.tolist(),
            'ms_ssim': None if several is None else several.tolist()}


def reconstructed(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """(N, C, H, W) float32, 0 to 255: pictures after a codec."""
    from fpray.training.rate_distortion import load_codec
    from fpray.training.rate_distortion import measure as ask

    return ask(load_codec(folder), pixels).reconstructions


def _mean(values: Any) -> float | None:
    return None if values is None else float(np.mean(values))


def fits(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Straight lines through the averages of the clusters (thesis, Fig. 4.10); None with fewer than two lambdas."""
    bpp = [float(np.mean(point['bpp'])) for point in points]
    found: dict[str, Any] = {'psnr': None, 'mse': None}
    for name in found if len(points) > 1 else ():
        slope, intercept = np.polyfit(bpp, [float(np.mean(point[name])) for point in points], 1)
        found[name] = {'slope': float(slope), 'intercept': float(intercept)}
    return found


def classical(pixels: np.ndarray) -> list[dict[str, Any]]:
    """JPEG, JPEG 2000 and WebP on the same pictures, for scale."""
    found = []
    for name in CLASSICAL:
        rows = []
        for setting in curve_settings(name):
            bits, decoded = encode(pixels, name, setting)
            error = mse(pixels, decoded)
            rows.append({'setting': str(setting), 'bpp': float(bits.mean() / np.prod(pixels.shape[2:])),
                         'mse': float(error.mean()), 'psnr': float(psnr_of(error).mean()),
                         'ssim': _mean(ssim(pixels, decoded))})
        found.append({'codec': name, 'points': rows})
    return found


def rounded(levels: np.ndarray) -> np.ndarray:
    """Pictures on the 0-255 scale as uint8, rounded and clipped."""
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def bitstream(context: Context, pixels: np.ndarray, bpp: np.ndarray) -> dict[str, Any] | None:
    """How far real files lie above the information that they carry, (N,) bits a pixel; None for an owner's codec."""
    name = f'codec/{context.config["headline"]}'
    if name not in context.inputs:
        return None
    import torch

    from fpray.data.images import to_float
    from fpray.training.rate_distortion import load_codec

    network, estimated = load_codec(context.inputs[name]), bpp * np.prod(pixels.shape[2:]) / 8
    with torch.inference_mode():
        real = np.array([sum(len(part) for strings in network.compress(to_float(torch.from_numpy(one[None])))['strings']
                             for part in strings) for one in pixels])
    return {'files': len(pixels), 'largest_excess_bytes': float((real - estimated).max()),
            'mean_overhead': float((real / estimated).mean() - 1)}


def fidelity(context: Context, everyone: ImageSet, split: Split, pixels: np.ndarray, copies: np.ndarray | None,
             rows: np.ndarray) -> dict[str, Any] | None:
    """What the headline codec and the twin's generator leave of ridges, minutiae and a matcher's answers; None: off."""
    config = context.config
    if not config['fidelity']:
        return None
    from fpray.studies.fidelity import study_fidelity

    how: dict[str, Any] = {'seed': config['seed'], 'progress': context.progress, 'dpi': config['ppi'] or None,
                           'optional': True}
    found: dict[str, Any] = {'not_available': 'the owner gave no decompressed copies'} if copies is None else study_fidelity(
        pixels, rounded(copies), everyone.records.iloc[rows].reset_index(drop=True), **how)
    if 'twin' in context.inputs:  # generated prints have no originals: their distributions are compared
        private = training_rows(split, 'members')[:SHOWN]
        drawn = np.load(context.inputs['twin'] / 'samples.npy', mmap_mode='r')[:SHOWN]
        found['twin_samples'] = study_fidelity(np.asarray(everyone.pixels[private]), np.asarray(drawn),
                                               everyone.records.iloc[private].reset_index(drop=True), paired=False, **how)
    return found
