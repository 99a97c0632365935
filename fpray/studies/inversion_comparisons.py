"""The source's comparisons, in its tables' shapes: adaptation, attacker's data, target networks, several templates."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from fpray.studies import sections as page
from fpray.studies.embedding_config import NO_ADAPT
from fpray.studies.inversion_config import BASELINE, IDENT, JUDGE, SAME, TOLD, key_of
from fpray.studies.inversion_evidence import Evidence
from fpray.studies.inversion_tables import (
    ACCESS,
    BESIDE,
    ORDER,
    Row,
    acceptance,
    access,
    brief,
    cell,
    chain,
    differs,
    errors,
    label,
    lipschitz,
    members,
    modality,
    notes,
    pictures,
    recognition,
    rung_label,
)
from fpray.studies.recognition_steps import vectors_of

BINS = 24
KINDS = {'dssim': 'DSSIM', 'perceptual': 'Perceptual distance'}


def all_sections(evidence: Evidence) -> list[page.Body]:
    """Every section of the page that this configuration has anything for."""
    makers = (acceptance, chain, recognition, adaptation, attacker, networks, lengths, embeddings, baseline, pool_miss,
              layers, errors, lipschitz, members, pictures)
    return [found for make in makers if (found := make(evidence)) is not None]


def placed(condition: str, place: str) -> str:
    """Name of the arm of a condition at a place."""
    return f'{condition}/{place}'


def likeness(evidence: Evidence, group: str, arm: str, mean: bool = False) -> Row:
    """DSSIM and perceptual distance."""
    return [cell(evidence.likeness(group, arm, name, mean), 'not measured at this size') for name in KINDS]


def perceptual_words(evidence: Evidence) -> str:
    """Which network measures likeness."""
    key = evidence.config['perceptual']
    network = 'the judge' if key == JUDGE else label(key)
    return f'perceptual: Euclidean distance of the vectors in {network}, which no loss knows; DSSIM: (1 - SSIM) / 2'


def values_of(evidence: Evidence, group: str, arm: str, name: str) -> np.ndarray | None:
    """Errors of one arm; None where they were not measured."""
    found = evidence.measured(group, arm)[name].to_numpy(float)
    return found if len(found) and np.isfinite(found).all() else None


def distributions(evidence: Evidence, number: int, by: str, group: str, arms: dict[str, str]) -> list[page.Body]:
    """Figs. 4 to 6: distribution functions of both errors, a line an arm."""
    found = []
    for name, words in KINDS.items():
        drawn = [page.distribution(shown, values.tolist()) for shown, arm in arms.items()
                 if (values := values_of(evidence, group, arm, name)) is not None]
        if drawn:
            found.append(page.steps(f'fig-{number}-{name}', f'{words} by {by} (Fig. {number})',
                                    'The share of reconstructions with at most this error.', words, 'share', drawn))
    return found


# Adaptation -------------------------------------------------------------------------------------------------------


def adaptation(evidence: Evidence) -> page.Body | None:
    """Tables 5, 9 and 15, Fig. 4: what adapting the network costs the attacker."""
    rungs, right, what = evidence.config['rungs'], evidence.config['right'], modality(evidence)
    if not rungs:
        return None
    nine: list[Row] = []
    for condition in (each for each in ORDER if each in evidence.config['conditions'] and each != IDENT):
        nine.append([f'{what}, {condition}.'])
        for rung in rungs:
            nine.append([rung_label(rung), *access(evidence, 'conditions', placed(condition, key_of(right, rung)))])
    ladder, total = evidence.ladder(), len(evidence.groups.pictures('adapt'))
    return page.section(
        'adaptation', 'Adaptation of the target',
        'The owner takes a public network and trains it on its own people; the attacker keeps the public one. All rungs are '
        'moments of one training that opens more and more layers.', [
            page.table('table-5', 'Reconstruction errors (median) when the target is adapted', [
                'Adaptation', f'{what}: DSSIM', f'{what}: perceptual'],
                [[rung_label(rung), *likeness(evidence, 'rungs', f'{rung}/{TOLD}')] for rung in rungs],
                note=notes(perceptual_words(evidence)), differs=differs(evidence), published='tangari-5'),
            page.table('table-9', 'Impersonation when the target is adapted: identification, and TAR at FMR 1 %', [
                'Adaptation', *ACCESS, *BESIDE], nine, note=notes(brief(evidence)), differs=differs(evidence),
                published='tangari-9'),
            page.table('table-15', 'The adaptation', [
                'Adaptation', 'New images', 'Validation accuracy', 'Cosine to the unadapted vector'],
                [[rung, ladder[rung]['images_seen'], ladder[rung]['accuracy'], drift(evidence, rung)] for rung in rungs
                 if rung in ladder],
                note=notes(f'new images: seen, of {total:,} different ones',
                           'accuracy on pictures held out of every identity that is adapted to',
                           'cosine: the victims\' median',
                           'the shares of layers opened are our own: the source prints none'),
                differs=differs(evidence), published='tangari-15')],
        distributions(evidence, 4, 'adaptation', 'rungs', {rung_label(rung): f'{rung}/{TOLD}' for rung in rungs}))


def drift(evidence: Evidence, rung: str) -> float:
    """Median cosine of the victims' vectors before and after adaptation."""
    right, inputs = evidence.config['right'], evidence.context.inputs
    places = np.flatnonzero(np.isin(np.load(inputs['asked'] / 'rows.npy'), evidence.groups.templates()))
    before, after = (np.asarray(vectors_of(inputs[f'vectors/{key}']), np.float64)[places]
                     for key in (right, key_of(right, rung)))
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(np.median((before * after).sum(axis=1) / np.maximum(norms, 1e-12)))


# The attacker's pictures ------------------------------------------------------------------------------------------


def attacker(evidence: Evidence) -> page.Body | None:
    """Tables 6 and 8, Fig. 5: what the attacker's pictures are worth."""
    config, what = evidence.config, modality(evidence)
    conditions = [each for each in ORDER if each in config['conditions']]
    place = key_of(config['right'], NO_ADAPT) if config['rungs'] else config['right']
    eight: list[Row] = []
    for each in conditions:
        eight += [[f'{what}, {each}.'], [label(config['right']), *access(evidence, 'conditions', placed(each, place))]]
        if each == SAME and 'targets' in config['arms']:
            eight += [[label(arm.name), *access(evidence, 'targets', arm.name)] for arm in config['arms']['targets']]
    return page.section(
        'attacker', 'The attacker\'s pictures',
        'Same-Ident.: other pictures of the victims, with the attacker\'s own people. Same-PreProc.: other people, same '
        f'pipeline. Diff-PreProc.: other people through {pipeline_words(evidence)}. The target is not adapted.', [
            page.table('table-6', 'Reconstruction errors (median) by attacker\'s data', [
                'Attacker\'s data', f'{what}: DSSIM', f'{what}: perceptual'],
                [[f'{each}.', *likeness(evidence, 'conditions', placed(each, place))] for each in conditions],
                note=notes(brief(evidence), perceptual_words(evidence)), differs=differs(evidence), published='tangari-6'),
            page.table('table-8', 'Identification, and TAR at FMR 1 %, by target and attacker\'s data', [
                'Target model', *ACCESS, *BESIDE], eight, note=notes(brief(evidence)), differs=differs(evidence),
                published='tangari-8')],
        distributions(evidence, 5, 'attacker\'s data', 'conditions', {each: placed(each, place) for each in conditions}))


def pipeline_words(evidence: Evidence) -> str:
    """What Diff-PreProc is here."""
    if evidence.config['other']:
        return 'a second sensor or set of their own'
    return 'a simulated second sensor' if evidence.config['align'] == 'none' else 'another alignment, by the detector\'s box'


# The target network -----------------------------------------------------------------------------------------------


def networks(evidence: Evidence) -> page.Body | None:
    """Table 7 and Fig. 7: the target network's own part in it."""
    config = evidence.config
    if 'targets' not in config['arms']:
        return None
    each = [('conditions', placed(SAME, config['right']), config['right']),
            *(('targets', arm.name, arm.name) for arm in config['arms']['targets'])]
    lengths_ = {name: vectors_of(evidence.context.inputs[f'vectors/{name}']).shape[1] for _, _, name in each}
    return page.section(
        'networks', 'The target network', 'Every candidate in turn is the target, not adapted, and inverted by a '
        'reconstructor of its own.', [page.table(
            'table-7', 'Reconstruction errors (mean) by target network', ['Model', 'Length', 'DSSIM', 'Perceptual'],
            [[modality(evidence)], *([label(name), lengths_[name], *likeness(evidence, group, arm, True)]
                                     for group, arm, name in each)],
            note=notes(brief(evidence), perceptual_words(evidence)), differs=differs(evidence), published='tangari-7')],
        distances(evidence, each), fold=True)


def distances(evidence: Evidence, each: Sequence[tuple[str, str, str]]) -> list[page.Body]:
    """Fig. 7: distances of original and reconstruction in the target."""
    found = {name: values for group, arm, name in each
             if (values := values_of(evidence, group, arm, 'distance')) is not None}
    if not found:
        return []
    edges = np.linspace(0, max(float(values.max()) for values in found.values()), BINS + 1).tolist()
    return [page.histogram('fig-7', 'Distance of original and reconstruction in the target (Fig. 7)',
                           'Euclidean, of the vectors as they are: scales differ between networks.', 'distance', 'share',
                           [page.counts(label(name), values.tolist(), edges) for name, values in found.items()])]


def lengths(evidence: Evidence) -> page.Body | None:
    """Fig. 6: longer vectors give more away."""
    arms = evidence.config['arms'].get('lengths')
    if not arms:
        return None
    shown = {f'{label(arm.system)}': arm.name for arm in arms}
    return page.section(
        'lengths', 'The length of the vector', 'The same families with an embedding layer of another length, each inverted '
        'by a reconstructor of its own.', [page.table(
            'lengths', 'Reconstruction errors (median) and impersonation by length', [
                'Model', 'DSSIM', 'Perceptual', *ACCESS, *BESIDE],
            [[name, *likeness(evidence, 'lengths', arm), *access(evidence, 'lengths', arm)] for name, arm in shown.items()],
            note=notes(brief(evidence), perceptual_words(evidence)))],
        distributions(evidence, 6, 'length', 'lengths', shown), fold=True)


# Several templates, the baseline, the miss ------------------------------------------------------------------------


def embeddings(evidence: Evidence) -> page.Body | None:
    """Table 11: several stolen vectors of one person."""
    config = evidence.config
    if 'several' not in config['arms']:
        return None
    rows: list[Row] = []
    for arm in config['arms']['several']:
        rows.append([f'{arm.name}.' if arm.name in ORDER else 'Same-PreProc., the headline\'s reconstructor'])
        rows += [several(evidence, arm.name, number) for number in config['embeddings']]
    return page.section(
        'embeddings', 'Several stolen templates', 'Identification takes the identity that most of the N reconstructions are '
        'taken for; verification succeeds if any one of them is accepted, by strangers just as by the person.', [page.table(
            'table-11', 'Impersonation with N stolen templates of an identity, TAR at FMR 1 %', [
                'Embeddings', 'Identification', 'Same subject', 'Strangers, any of N', 'Judge: same subject'], rows,
            note=notes(brief(evidence), 'Same-Ident. is left out: the attacker would hold the very pictures whose templates '
                       'are stolen' if IDENT in config['conditions'] else ''),
            differs=differs(evidence), published='tangari-11')], fold=True)


def several(evidence: Evidence, arm: str, number: int) -> Row:
    """A row of Table 11."""
    if number > max(evidence.config['most'], 1):
        why = f'an identity has {evidence.config["stealable"]} pictures beside its references'
        return [str(number), *[page.not_available(why)] * 4]
    own, judged = (evidence.accepted('several', arm, judge, first=number) for judge in (False, True))
    assert judged is not None, 'the judge is always asked'
    inside = [None, None] if own is None else [own['own'], own['strangers']]
    return [str(number), cell(evidence.identified('several', arm, first=number)), *map(cell, inside), judged['own']]


def baseline(evidence: Evidence) -> page.Body | None:
    """Table 10: beside what the owner itself could train."""
    config = evidence.config
    if 'baseline' not in config['arms']:
        return None
    right = config['right']
    rung = next((rung for rung, key in config['places'].items() if key == evidence.system), NO_ADAPT)
    rows: list[Row] = [['Baseline', *access(evidence, 'baseline', BASELINE)]]
    for each in dict.fromkeys((NO_ADAPT, rung)):
        found = access(evidence, 'conditions', placed(SAME, key_of(right, each)))
        rows.append([f'Adversarial ({rung_label(each)})', *found])
    return page.section(
        'baseline', 'Beside the non-adversarial inversion', 'The baseline (Dosovitskiy & Brox 2016) is no attack: it has '
        'the owner\'s pictures and network, and trains the network along so that vectors invert better.', [page.table(
            'table-10', 'Impersonation: identification, and TAR at FMR 1 %', ['Reconstructions', *ACCESS, *BESIDE], rows,
            note=notes(brief(evidence), 'the network that is to be got into is as it was before the baseline trained it'),
            differs=differs(evidence), published='tangari-10')], fold=True)


def pool_miss(evidence: Evidence) -> page.Body | None:
    """Table 12: the target is none of the candidates."""
    config = evidence.config
    if 'pool' not in config['arms']:
        return None
    right, rows = config['right'], list[Row]()
    others = list(dict.fromkeys(arm.system for arm in config['arms']['pool']))
    for condition in (each for each in ORDER if each in config['conditions']):
        inside = access(evidence, 'conditions', placed(condition, key_of(right, NO_ADAPT)))
        rows += [[f'{condition}.'], [label(right), *inside]]
        for name in others:
            rows.append([label(name), *access(evidence, 'pool', f'{condition}/{name}/ranges')])
            if condition == SAME:
                rows.append([f'{label(name)}, linear adapter', *access(evidence, 'pool', f'{condition}/{name}/linear')])
    taught = ', trained on the same public people' if config['groups'].public else ''
    return page.section(
        'pool', 'A target that is not in the pool', f'The attacker takes the vector for one of {label(right)}, whose '
        f'reconstructor it has; the real target is another network{taught}. Each dimension is '
        'stretched to the inferred network\'s range (section 7). The linear adapter is a stronger attacker: it can have its '
        'own pictures embedded by the target.', [page.table(
            'table-12', 'Impersonation when the target is not in the pool: identification, and TAR at FMR 1 %', [
                'Target model', *ACCESS, *BESIDE], rows, note=notes(brief(evidence)),
            differs=differs(evidence, 'the targets are the other candidates, not ResNet50V2, ResNeXt, DenseNet and SENet50'),
            published='tangari-12')], fold=True)


# The search -------------------------------------------------------------------------------------------------------


def layers(evidence: Evidence) -> page.Body | None:
    """The subsets of layers that the search tried for the right network; None where none was searched."""
    name = f'search/{evidence.config["right"]}'
    if name not in evidence.context.inputs:
        return None
    trials = json.loads((evidence.context.inputs[name] / 'trials.json').read_text())['trials']
    best = evidence.facts(name, 'layers.json') or {}
    rows: list[Row] = [[str(trial['number']), ', '.join(key for key, taken in trial['params'].items() if taken) or 'none',
                        trial['value'], trial['state']] for trial in trials]
    return page.section(
        'layers', 'The layers of the perceptual loss', 'Searched by the share of held-out people of the attacker\'s own '
        'whose reconstructions the inferred network takes for the right identity (section 4.2); nobody else is looked at.', [
            page.table('trials', 'Subsets of layers', ['Trial', 'Layers', 'Classified correctly', 'State'], rows, note=notes(
                f'taken: {", ".join(best.get("layers", [])) or "none"}'))], fold=True)
