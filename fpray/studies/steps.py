"""The steps of an audit: each reads what earlier ones wrote, and writes its own results into an empty folder.

They are the functions of `fpray.studies.audit`'s stages. What their numbers depend on is in `context.config`; where the
pictures lie and how many actors score them is in `context.settings`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks import load_attack
from fpray.attacks.black_box import FolderGenerator, SampleFile
from fpray.attacks.discriminator import load_discriminator
from fpray.data.config import DataConfig, SplitConfig
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet, join, list_folder, read_folder, read_samples, with_altered
from fpray.data.splits import (
    CONTRASTS,
    Split,
    check_queries,
    draw_split,
    query,
    real_rows,
    split_sides,
    training_rows,
    unseen_available,
)
from fpray.data.synthetic import generate
from fpray.distributed.score import Scorer, file_of, score
from fpray.distributed.search import Choice, Float, Outcome, SearchConfig, Space, search
from fpray.distributed.tasks import run_tasks
from fpray.distributed.train import fit
from fpray.errors import UserError
from fpray.models.config import ScorerConfig
from fpray.store import Context, Place, locate
from fpray.studies import config as studies
from fpray.studies.tasks import (
    QUALITY,
    SHADOW,
    ScorerTask,
    ShadowTask,
    VictimTask,
    load_scorer,
    read_split,
    save_network,
)
from fpray.training.config import GanConfig, LoopConfig, MatchingConfig

BLOCK = 4  # people that one task draws
STAND_IN = 'synthetic stand-in'


def derive_seed(seed: int, *words: str) -> int:
    """A seed for one purpose, 63 bits: independent of all others, and of how many there are."""
    return int.from_bytes(hashlib.sha256('\0'.join([str(seed), *words]).encode()).digest()[:8], 'big') >> 1


# Pictures and people


@dataclass(frozen=True)
class PicturesConfig:
    """What the set of pictures depends on; folders by the fingerprint of what they hold, never by their path."""

    data: DataConfig
    split: SplitConfig
    folders: dict[str, str]
    """Which folders are read, by name, and the fingerprint of each; empty: the stand-in."""
    seed: int


def pictures(context: Context) -> None:
    """The set of pictures, whole: folders read, the stand-in drawn, altered versions and other people appended."""
    config: PicturesConfig = context.config
    data, split, where = config.data, config.split, context.settings['folders']
    parts: dict[str, ImageSet] = {}
    for name in config.folders:
        key = 'set' if name == 'root' else name
        parts[key] = read_folder(where[name], data, context.scratch / key,
                                 lambda done, total: context.progress(done, total, 'pictures'))
    impressions = data.impressions + data.query_impressions
    if not parts:
        people = max(split.sizes) + split.nonmembers + learning_people(split)
        parts['set'] = stand_in(config.seed, people, data.fingers, impressions, (data.size, data.size), data.ppi, context)
    if 'samples' in where:
        generated = _read_owner_samples(where['samples'], data, next(iter(parts.values())).pixels.shape[1:], context)
        if generated.size < (draws := context.settings.get('draws', 0)):
            raise UserError(f'{generated.size} generated pictures, --victim.draws is {draws}: the controls draw as many',
                            f'give more, or use --victim.draws {generated.size}')
    everyone = _one_set(parts, config, context.scratch)
    need = 0 if everyone.meta['synthetic'] else _people_missing(everyone, config)
    if need and 'reference' in parts:
        raise UserError(f'--data.reference lacks {need} of the people that the groups ask for from whom the attacker learns',
                        'give more people, or lower --split.scoring, --split.placebo or --split.rehearsal')
    if need:
        _, _, height, width = everyone.pixels.shape
        parts['reference'] = _strangers(stand_in(config.seed, need, data.fingers, impressions, (height, width), 0, context),
                                        everyone.pixels.shape[1])
        everyone = replace(_one_set(parts, config, context.scratch), meta={**everyone.meta, 'stand_in': True})
    everyone.save(context.out)


def learning_people(split: SplitConfig) -> int:
    """People that the groups ask for from whom an attack learns."""
    return split.scoring + split.placebo + 2 * split.rehearsal + split.reference


def _one_set(parts: dict[str, ImageSet], config: PicturesConfig, scratch: Path) -> ImageSet:
    everyone = next(iter(parts.values())) if len(parts) == 1 else join(parts, scratch / 'joined')
    data, given = config.data, 'members' in parts
    if data.query_impressions and (given or not unseen_available(everyone.records, data)) \
            and not _has_altered(everyone.records):
        everyone = with_altered(everyone, data.impressions, data.query_impressions, config.seed, into=scratch / 'altered')
    return everyone


def _has_altered(records: pd.DataFrame) -> bool:
    own = records if 'side' not in records else records[records['side'] != 'reference']
    return 'altered' in own and bool(own['altered'].any()) and not bool(own['altered'].all())


def _people_missing(everyone: ImageSet, config: PicturesConfig) -> int:
    """People that the learning groups lack; draws the split, so that a set that cannot be split is refused here."""
    missing = draw(everyone.records, config.data, config.split, config.seed).missing
    return sum(getattr(config.split, group.removesuffix('_in').removesuffix('_out')) for group in missing)


def draw(records: pd.DataFrame, data: DataConfig, split: SplitConfig, seed: int) -> Split:
    """The split of a set's records: membership drawn, or given by an owner's two folders."""
    given = 'side' in records and (records['side'] == 'members').any()
    return (split_sides if given else draw_split)(records, data, split, derive_seed(seed, 'split'))


def stand_in(seed: int, people: int, fingers: int, impressions: int, size: tuple[int, int], ppi: float,
             context: Context) -> ImageSet:
    """Synthetic people, drawn as Ray tasks in blocks: (N, 1, H, W), equal whatever the blocks and their order."""
    blocks = [range(first, min(first + BLOCK, people)) for first in range(0, people, BLOCK)]
    each = fingers * impressions
    context.scratch.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(context.scratch / 'stand-in.npy', 'w+', np.uint8, (people * each, 1, *size))
    rows: list[list[dict[str, str]]] = [[] for _ in blocks]
    done = 0
    for number, (block, records) in run_tasks(generate, [(seed, b, fingers, impressions, size, ppi) for b in blocks]):
        first = blocks[number].start * each
        pixels[first:first + len(block)] = block
        rows[number] = [record | {'image_id': image_id(picture)} for record, picture in zip(records, block, strict=True)]
        done += len(block)
        context.progress(done, len(pixels), 'pictures')
    table = pd.DataFrame([record for block in rows for record in block]).assign(path='synthetic')
    return ImageSet(pixels, table, {'name': STAND_IN, 'layout': 'synthetic', 'synthetic': True, 'subject_known': True,
                                    'skipped': [], 'ignored': 0})


def _strangers(people: ImageSet, channels: int) -> ImageSet:
    """The stand-in as other people's side of a real set: names that no real person has, as many channels."""
    records = people.records.assign(subject='synthetic:' + people.records['subject'],
                                    identity='synthetic:' + people.records['identity'])
    return ImageSet(np.repeat(people.pixels, channels, axis=1), records, people.meta)


@dataclass(frozen=True)
class PeopleConfig:
    """What the division of the people depends on, beside the pictures."""

    data: DataConfig
    split: SplitConfig
    seed: int


def people(context: Context) -> None:
    """split.json: who trains, who is asked about, who the attacker learns from."""
    config: PeopleConfig = context.config
    split = draw(ImageSet.load(context.inputs['pictures']).records, config.data, config.split, config.seed)
    check_asked(split, config.split.sizes, context.settings.get('query'))
    (context.out / 'split.json').write_text(split.to_json())


def check_asked(split: Split, sizes: Sequence[int], asked: studies.QueryConfig | None) -> None:
    """Refuse, before anything is trained, a number of query or reference pictures that the split cannot give."""
    if asked is None:
        return
    for size, number in zip(sizes, asked.pictures, strict=False):
        check_queries(split, size, number)
    if isinstance(asked, studies.GeneratorQueryConfig) and asked.real[0]:
        real_rows(split, *asked.real)


def foreseen(config: Any, folders: Mapping[str, str], seed: int) -> tuple[pd.DataFrame, Split]:
    """The records and the split as names alone foretell them: no picture is opened, so twins and broken files count.

    Raises:
        UserError: not even the names give enough people, impressions or query pictures.
    """
    data, split = config.data, config.split
    parts = [list_folder(path, data).assign(side='set' if name == 'root' else name)
             for name, path in folders.items() if name in studies.PEOPLES]
    records = pd.concat(parts, ignore_index=True) if parts else numbered(
        max(split.sizes) + split.nonmembers + learning_people(split), data)
    records['image_id'] = records.get('side', pd.Series('', records.index)) + '/' + records['path']
    if data.query_impressions and (config.owner or not unseen_available(records, data)) and not _has_altered(records):
        records = with_foreseen_versions(records, data.query_impressions)
    drawn = draw(records, data, split, seed)
    check_asked(drawn, split.sizes, None if config.owner else config.query)
    return records, drawn


def with_foreseen_versions(records: pd.DataFrame, copies: int) -> pd.DataFrame:
    """Records as `with_altered` will lengthen them, so many versions an identity, as names alone foretell it."""
    fingers = records.drop_duplicates('identity').assign(altered=True)
    return pd.concat([records, *(fingers.assign(impression=f'altered-{n}', image_id=fingers['image_id'] + f'#{n}')
                                 for n in range(copies))], ignore_index=True)


def numbered(people: int, data: DataConfig) -> pd.DataFrame:
    """The names of the stand-in's pictures."""
    rows = [(f'{p}', f'{p}/{f}', f'{i}', f'{p}/{f}_{i}') for p in range(people) for f in range(data.fingers)
            for i in range(data.impressions + data.query_impressions)]
    return pd.DataFrame(rows, columns=['subject', 'identity', 'impression', 'path']).assign(altered=False)


# Networks


def scorer(context: Context) -> None:
    """The scoring network, trained on the scoring people alone."""
    config: studies.ScoringConfig = context.config['scorer']
    if config.network.scorer.backbone != 'cnn':
        _ready_scorer(config.network.scorer, context.out)
        return
    everyone, split = ImageSet.load(context.inputs['pictures']), read_split(context.inputs['people'])
    kind, classes, labels = class_labels(everyone.records, split, config, context.config['seed'])
    image, channels = _picture_form(context.inputs['pictures'])
    network = replace(config.network.scorer, image=image, channels=channels, classes=len(classes))
    task = ScorerTask(context.place('pictures'), labels, replace(config.network, scorer=network), config.loop,
                      tuple(classes), kind, context.config['seed'])
    fit(task, config.loop, context.config['seed'], context)


def _ready_scorer(config: ScorerConfig, out: Path) -> None:
    """A scoring network that comes trained, from its weights file."""
    from fpray.models.scorer import build_scorer

    save_network(build_scorer(config), config, out, 'network')
    (out / QUALITY).write_text(json.dumps({'kind': 'ImageNet', 'classes': [str(i) for i in range(1_000)],
                                           'accuracy': None, 'held_out': 0, 'chance': 1e-3}))


def class_labels(records: pd.DataFrame, split: Split, config: studies.ScoringConfig,
                 seed: int) -> tuple[str, list[str], dict[str, np.ndarray]]:
    """What the scoring network learns: (kind, names of classes, rows and classes to train on and held out).

    Finger position and pattern are held out by person, identity by impression: its classes are the people's fingers.

    Raises:
        UserError: no people to learn from, or fewer than two classes.
    """
    subjects = split.people['scoring']
    if not subjects:
        raise UserError('the scoring network has no people to learn from',
                        'give --split.scoring people, or other people with --data.reference')
    fingers = [finger for subject in subjects for finger in split.fingers[subject]]
    rows = {finger: [*split.trained[finger], *split.unseen.get(finger, [])] for finger in fingers}
    known = {kind: records[kind].iloc[[r[0] for r in rows.values()]].replace('', np.nan).nunique()
             for kind in ('pattern', 'position')}
    kind: str = config.classes
    if kind == 'auto':
        kind = next((name for name, count in known.items() if count > 1), 'identity')
    names = records[kind].astype(str).to_numpy()
    if kind == 'identity':
        train = [row for each in rows.values() for row in each[:max(1, len(each) - 1)]]
        held = [row for each in rows.values() for row in each[max(1, len(each) - 1):]]
    else:
        order = np.random.default_rng([seed]).permutation(len(subjects))
        away = {subjects[i] for i in order[:max(1, round(config.holdout * len(subjects)))]}
        train = [row for f in fingers for row in rows[f] if records['subject'].iloc[row] not in away]
        held = [row for f in fingers for row in rows[f] if records['subject'].iloc[row] in away]
    classes = sorted(set(names[train]))
    if len(classes) < 2:
        raise UserError(f'the scoring network finds {len(classes)} class of kind {kind} among its people',
                        'choose another --scorer.classes, or more --split.scoring people')
    number = {name: i for i, name in enumerate(classes)}
    held = [row for row in held if names[row] in number]
    return kind, classes, {
        'rows': np.array(train), 'classes': np.array([number[names[row]] for row in train]),
        'held_rows': np.array(held, np.int64), 'held_classes': np.array([number[names[row]] for row in held], np.int64)}


def victim(context: Context) -> None:
    """One GAN by Ray Train, on a group's drawn impressions."""
    config = context.config
    gan = studies.for_pictures(config['gan'], *_picture_form(context.inputs['pictures']))
    task = VictimTask(context.place('pictures'), context.place('people'), context.place('scorer'), config['group'],
                      config['people'], gan, config['loop'], config['measure'], config['seed'])
    fit(task, config['loop'], config['seed'], context, trainer=True)


def _picture_form(folder: Path) -> tuple[tuple[int, int], int]:
    """((height, width), channels) of a set of pictures, or of the samples in a folder."""
    path = folder / 'pixels.npy'
    channels, height, width = np.load(path if path.exists() else folder / 'samples.npy', mmap_mode='r').shape[1:]
    return (height, width), channels


def samples(context: Context) -> None:
    """samples.npy: what the attacker drew from a victim, all that an attack sees of it."""
    draws, seed, chunk = context.config['draws'], context.config['seed'], 1_024
    import torch

    from fpray.models.config import GeneratorConfig
    from fpray.models.gan import build_generator
    from fpray.training.adversarial import sample

    folder = context.inputs['victim']
    generator = build_generator(GeneratorConfig(**json.loads((folder / 'generator.json').read_text())))
    generator.load_state_dict(torch.load(folder / 'generator.pt', map_location='cpu', weights_only=True))
    config = generator.config
    out = np.lib.format.open_memmap(context.out / 'samples.npy', 'w+', np.uint8, (draws, config.channels, *config.image))
    for first in range(0, draws, chunk):
        count = min(chunk, draws - first)
        out[first:first + count] = sample(generator, count, derive_seed(seed, str(first)))
        context.progress(first + count, draws, 'samples')
    out.flush()


def owner_samples(context: Context) -> None:
    """samples.npy from an owner's folder of generated pictures, or from a file of them."""
    form = np.load(context.inputs['pictures'] / 'pixels.npy', mmap_mode='r').shape[1:]
    generator = _read_owner_samples(context.settings['folders']['samples'], context.config['data'], form, context)
    np.save(context.out / 'samples.npy', generator.sample(context.config['draws'], context.config['seed']))


def _read_owner_samples(path: str, data: DataConfig, form: tuple[int, ...], context: Context) -> FolderGenerator:
    """What an owner's generator drew.

    Raises:
        UserError: its pictures are not of the form (channels, height, width) of the members' pictures.
    """
    if path.endswith('.npy'):
        file = SampleFile(Path(path))
        generator = FolderGenerator(file.sample(file.size, 0))
    else:
        generator = FolderGenerator(read_samples(path, data, context.scratch / 'samples').pixels)
    found = generator.pixels.shape[1:]
    if found != form:
        names = [f'{width} x {height} px {"gray" if channels == 1 else "colour"}'
                 for channels, height, width in (found, form)]
        raise UserError(f'pictures of two sizes: {names[0]} generated, {names[1]} of the members',
                        'bring both to one size with --data.resize crop|pad and --data.size')
    return generator


# Shadows


def trial_gan(base: GanConfig, params: Mapping[str, Any]) -> GanConfig:
    """The GAN that a trial's parameters name."""
    gan = studies.architecture(base, params['blocks'], params['width'])
    return replace(gan, generator=replace(gan.generator, noise=params['noise']), lr_g=params['lr_g'],
                   lr_d=params['lr_d'], smoothing=params['smoothing'])


def space(config: studies.SearchConfig) -> Space:
    """The search space as the search takes it."""
    choices = {name: Choice(getattr(config, name)) for name in ('blocks', 'width', 'noise', 'batch')}
    rates = {name: Float(low, high, log=True) for name, (low, high) in (('lr_g', config.lr_g), ('lr_d', config.lr_d))}
    return {**choices, **rates, 'smoothing': Float(*config.smoothing)}


def search_shadow(context: Context) -> None:
    """Searches the shadow's networks and training: best.json, the trials, and the best trial's shadow in best/."""
    config: studies.SearchConfig = context.config['search']
    shadow: studies.ShadowConfig = context.config['shadow']
    if config.mode == 'off':
        _write_best(context, shadow.gan, shadow.loop)
        return
    result = search(space(config), run_trial, SearchConfig(
        trials=config.trials, rounds=config.rounds, rung=config.rung, keep=config.keep, mode=config.mode,
        seed=context.config['seed'] % 2**32), shadow.loop.images, context, cpus=shadow.loop.threads,
        gpus=float(shadow.loop.device == 'cuda'))
    result.save(context.out)
    shutil.copytree(result.folder, context.out / 'best')
    _write_best(context, trial_gan(shadow.gan, result.best.params), replace(shadow.loop, batch=result.best.params['batch']))


def _write_best(context: Context, gan: GanConfig, loop: LoopConfig) -> None:
    (context.out / 'best.json').write_text(json.dumps({'gan': asdict(gan), 'loop': asdict(loop)}, indent=1) + '\n')


def read_best(folder: Path) -> tuple[GanConfig, LoopConfig]:
    """The networks and the training that the search chose."""
    from fpray.models.config import DiscriminatorConfig, GeneratorConfig

    best = json.loads((folder / 'best.json').read_text())
    gan = best['gan'] | {'generator': GeneratorConfig(**best['gan']['generator']),
                         'discriminator': DiscriminatorConfig(**best['gan']['discriminator'])}
    return GanConfig(**gan), LoopConfig(**best['loop'])


def run_trial(context: Context, params: dict[str, Any], budget: int) -> Outcome:
    """One shadow of the search, trained until `budget` images; its value is |IS(shadow) - IS(victim)| where it stops."""
    shadow: studies.ShadowConfig = context.config['shadow']
    loop = replace(shadow.loop, batch=params['batch'], images=budget)
    seed = derive_seed(context.config['seed'], 'trial', str(sorted(params.items())))
    found = _train_shadow(context, trial_gan(shadow.gan, params), loop, shadow.matching, seed, shadow.course)
    gap = found['gap'] if found['gap'] is not None else float('inf')
    return Outcome(gap, found['trace'][-1]['images_seen'],
                   {'stopped_at': found['stopped_at'], 'reached': float(found['reached'])})


def shadow(context: Context) -> None:
    """One shadow of the searched architecture, with a seed of its own."""
    config = context.config
    if 'best' in config:  # the search's own best trial is the first shadow
        shutil.copytree(context.inputs['search'] / 'best', context.out, dirs_exist_ok=True)
        return
    gan, loop = read_best(context.inputs['search'])
    _train_shadow(context, gan, loop, config['matching'], config['seed'], config['course'])


def _train_shadow(context: Context, gan: GanConfig, loop: LoopConfig, matching: MatchingConfig, seed: int,
                  course: int) -> dict[str, Any]:
    form = _picture_form(context.inputs['samples'])
    task = ShadowTask(context.place('samples'), context.place('scorer'), studies.for_pictures(gan, *form), loop, matching,
                      seed, course)
    fit(task, loop, seed, context)
    return dict(json.loads((context.out / SHADOW).read_text()))


# Attacks


def discriminators(saved: Sequence[tuple[Place, str]]) -> Callable[[np.ndarray], np.ndarray]:
    """Several saved discriminators, (place, name there), as one function: (N, C, H, W) uint8 to (N, K) raw outputs."""
    files = [locate(place) / name for place, name in saved]
    loaded = [load_discriminator(path.with_name(f'{path.name}.json'), path.with_name(f'{path.name}.pt')) for path in files]
    return lambda pixels: np.stack([one(pixels) for one in loaded], axis=1)


def queries(split: Split, records: pd.DataFrame, positives: str, negatives: str, people: int | None,
            pictures: int = 0) -> pd.DataFrame:
    """The query pictures of every contrast that the split can have, one row a picture and contrast; see `query`."""
    if pictures and positives == 'members' and people is not None:  # a control may have fewer people, and says so
        check_queries(split, people, pictures)
    tables = []
    for contrast in CONTRASTS:
        if (contrast != 'mia' and not split.unseen_impressions) or (contrast == 'memorisation' and split.altered):
            continue
        tables.append(query(split, records, contrast, positives, negatives, people, pictures=pictures))
    return pd.concat(tables, ignore_index=True)


def attack(context: Context) -> None:
    """scores.parquet: every attack's scores of one victim's queries; course.parquet: the shadows' along their training.

    The discriminators score all pictures once, in the actor pool; the contrasts then take their rows.
    """
    config = context.config
    everyone, split = ImageSet.load(context.inputs['pictures']), read_split(context.inputs['people'])
    asked = queries(split, everyone.records, config['positives'], config['negatives'], config['people'],
                    config.get('pictures', 0))
    rows = np.unique(asked['row'].to_numpy())
    shadows = {name: folder for name, folder in context.inputs.items() if name.startswith('shadow')}
    saved = {name: (context.place(name), 'discriminator') for name in shadows}
    if 'victim' in context.inputs:
        saved['white-box'] = (context.place('victim'), 'discriminator')
    course = {(name, int(path.stem)): (context.place(name), f'course/{path.stem}')
              for name, folder in sorted(shadows.items())
              for path in sorted((folder / 'course').glob('*.pt')) if config['course']}
    networks = [*saved.values(), *course.values()]
    found = score(file_of(context.place('pictures'), 'pixels.npy'),
                  Scorer('fpray.studies.steps:discriminators', (networks,)), rows=rows,
                  actors=context.settings['actors'], stage=context.name, progress=context.progress)
    outputs = dict(zip([*saved, *course], found.scores.T, strict=True))
    at = np.searchsorted(rows, asked['row'].to_numpy())
    np.save(context.scratch / 'queries.npy', np.asarray(everyone.pixels[rows]))
    drawn = {'queries': np.load(context.scratch / 'queries.npy', mmap_mode='r'), 'samples': _drawn(context, 'samples'),
             'reference': _drawn(context, 'reference')}
    table = list(_scores(config['attacks'], asked, at, outputs, drawn))
    pd.concat([t.assign(victim=config['victim']) for t in table], ignore_index=True).to_parquet(
        context.out / 'scores.parquet', index=False)
    _course(asked, at, {k: outputs[k] for k in course}).to_parquet(context.out / 'course.parquet', index=False)
    (context.out / 'throughput.json').write_text(json.dumps({
        'pictures': len(rows), 'discriminators': len(networks), 'pictures_per_s': found.per_second,
        'seconds': found.seconds, 'actors': context.settings['actors']}))


def _drawn(context: Context, name: str) -> np.ndarray | None:
    return np.load(context.inputs[name] / 'samples.npy', mmap_mode='r') if name in context.inputs else None


def _scores(attacks: Iterable[str], asked: pd.DataFrame, at: np.ndarray, outputs: Mapping[Any, np.ndarray],
            drawn: Mapping[str, np.ndarray | None]) -> Iterable[pd.DataFrame]:
    """The table of membership scores, attack by attack; the attack itself sees pictures and outputs, no membership."""
    shadows = sorted(name for name in outputs if isinstance(name, str) and name.startswith('shadow'))
    for name in attacks:
        probe = load_attack(name)
        if name == 'shadow':
            # rank averages are taken within a contrast: ranks among other queries would say something about those
            for contrast in asked['contrast'].unique():
                rows = np.flatnonzero(asked['contrast'] == contrast)
                scores = probe.score([outputs[one][at[rows]] for one in shadows])
                yield asked.iloc[rows].assign(score=scores, attack=name, replicate='')
            for number, one in enumerate(shadows):
                yield asked.assign(score=outputs[one][at], attack=name, replicate=str(number))
        elif name == 'white-box':
            if name in outputs:
                yield asked.assign(score=probe.score(outputs[name])[at], attack=name, replicate='')
        elif all(drawn[need] is not None for need in probe.needs):
            scores = probe.score(*(drawn[need] for need in probe.needs))
            yield asked.assign(score=scores[at], attack=name, replicate='')


def _course(asked: pd.DataFrame, at: np.ndarray, outputs: Mapping[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    rows = np.flatnonzero(asked['contrast'] == 'mia')
    parts = [asked.iloc[rows].assign(score=values[at[rows]], shadow=name, images_seen=images)
             for (name, images), values in outputs.items()]
    return pd.concat(parts, ignore_index=True) if parts else asked.iloc[:0].assign(score=0.0, shadow='', images_seen=0)


# Quality


def quality(context: Context) -> None:
    """quality.json: Inception Score, Fréchet distance, precision, recall and distinct identities, Table 4.1's shape.

    The reference rows are real pictures of the headline members, their unseen impressions, unseen people, and noise.
    """
    from fpray.metrics.generative import distinct_count, frechet_distance, inception_score, precision_recall
    from fpray.training.classifier import predict

    config, measure, real = context.config, context.config['measure'], context.config.get('real', (0, 0))
    everyone, split = ImageSet.load(context.inputs['pictures']), read_split(context.inputs['people'])
    network, rng = load_scorer(context.inputs['scorer']), np.random.default_rng([config['seed']])
    sets: dict[str, tuple[str, int, np.ndarray, int | None]] = {
        name: (role, people, everyone.pixels[rows], k)
        for name, role, people, rows, k in _reference_rows(split, config['headline'], real)}
    for name in (n for n in context.inputs if n.startswith('samples')):
        pixels = np.load(context.inputs[name] / 'samples.npy', mmap_mode='r')[:measure.samples]
        victim = name.removeprefix('samples/')
        sets[f'generator {victim}'] = ('victim', config['sizes'].get(victim, 0), np.asarray(pixels), None)
    shape = everyone.pixels.shape[1:]
    drawn = min(max(500, real[1]), measure.samples)
    sets['noise'] = ('reference', 0, rng.integers(0, 256, (drawn, *shape), np.uint8), None)
    least = min(len(pixels) for _, _, pixels, _ in sets.values())  # the scores hang on how many pictures they are of
    sets = {name: (role, people, pixels[rng.permutation(len(pixels))[:least]], k)
            for name, (role, people, pixels, k) in sets.items()}
    found = {name: predict(network, pixels) for name, (_, _, pixels, _) in sets.items()}
    trained = found['training pictures'][1]
    threshold = _stranger_threshold(network, everyone, split)
    rows = []
    for name, (role, people, pixels, impressions) in sets.items():
        logits, features = found[name]
        mean, std = inception_score(logits, min(measure.splits, len(logits) // 2))
        precision, recall = precision_recall(trained, features) if name != 'training pictures' else (None, None)
        rows.append({'name': name, 'role': role, 'people': people, 'images': len(pixels), 'impressions': impressions,
                     'is_mean': mean, 'is_std': std, 'frechet': frechet_distance(features, trained), 'precision': precision,
                     'recall': recall, 'distinct_identities': distinct_count(features, threshold)})
    (context.out / 'quality.json').write_text(json.dumps(rows))


def _reference_rows(split: Split, headline: int | None,
                    real: tuple[int, int]) -> Iterable[tuple[str, str, int, np.ndarray, int]]:
    """(name, role, people, rows, impressions a finger) of the real pictures that stand beside the generators."""
    members = split.people['members'][:headline]
    unseen = [row for s in members for f in split.fingers[s] for row in split.unseen.get(f, [])]
    yield 'training pictures', 'reference', len(members), training_rows(split, 'members', headline), split.impressions
    if unseen:
        name = 'altered versions of them' if split.altered else 'held-out impressions'
        yield name, 'reference', len(members), np.array(unseen), split.unseen_impressions
    strangers = split.people['nonmembers']
    yield 'unseen people', 'reference', len(strangers), training_rows(split, 'nonmembers'), split.impressions
    if real[0]:
        each = split.impressions + split.unseen_impressions * (not split.altered)
        yield 'real images', 'reference', real[0], real_rows(split, *real), each


def _stranger_threshold(network: Any, everyone: ImageSet, split: Split) -> float:
    """The similarity that 1 % of pairs of different scoring people's pictures exceed: from there on, one identity."""
    from fpray.metrics.verification import threshold_at_fmr
    from fpray.training.classifier import predict

    rows = np.array([split.trained[f][0] for s in split.people['scoring'] for f in split.fingers[s]])
    _, features = predict(network, everyone.pixels[rows])
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    subjects = everyone.records['subject'].to_numpy().astype(str)[rows]
    a, b = np.triu_indices(len(rows), 1)
    strangers = subjects[a] != subjects[b]
    return threshold_at_fmr((unit @ unit.T)[a, b][strangers], 0.01,
                            np.stack([subjects[a], subjects[b]], axis=1)[strangers]).value
