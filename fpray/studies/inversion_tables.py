"""The headline's tables and figures: who gets in, the chain, the networks, error curves, Lipschitz bounds, membership."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fpray.attacks.compactness import compactness
from fpray.data.groups import places
from fpray.metrics.identification import cmc, nonmate_scores, open_set, rank_n
from fpray.metrics.lipschitz import network_bound
from fpray.metrics.membership import auc_clustered, auc_difference
from fpray.metrics.rate import Rate
from fpray.metrics.verification import d_prime, error_curve, failure_to_acquire, far_frr, separation, threshold_at_fmr
from fpray.models.config import LINEAR
from fpray.studies import sections as page
from fpray.studies.embedding_config import NO_ADAPT
from fpray.studies.inversion_config import (
    CONDITIONS,
    DIRECT,
    END_TO_END,
    IDENT,
    JUDGE,
    LINEAR_MAP,
    MEAN,
    NEAREST,
    PLACEBO,
    SAME,
    TOLD,
    WRONG,
)
from fpray.studies.inversion_evidence import STRICT, Evidence, pairs_of, searched
from fpray.studies.inversion_steps import HELD_OUT, IMAGE, IMPRESSION, LEAST, quality_of
from fpray.studies.recognition_steps import vectors_of
from fpray.training.reconstruction import load_reconstructor

Row = list[page.Cell]
NAMES = {'face-resnet50': 'ResNet50', 'face-vgg16': 'VGG16', 'face-senet50': 'SENet50', 'face-openface': 'OpenFace',
         'face-facenet': 'Facenet', 'finger-resnet': 'ResNet', 'finger-inception': 'Inception',
         'finger-xception': 'Xception', 'finger-resnetv2': 'ResNetV2', 'finger-densenet': 'DenseNet'}  # as the source says
ACCESS = ('Identification', 'Same image', 'Same subject')
BESIDE = ('Judge: same image', 'Judge: same subject')
FROM = 'Picture shown'
OWN = 'the person\'s own picture'
CURVE, RANKS = 200, 20  # points of a drawn curve, ranks of a CMC
EPS = 0.05  # length of the step along which a reconstructor's change is measured, of the vector's own
FPIR = 0.1
UNFIT = 0.01  # share of real pictures of other people that the quality rule turns away
DRAWS = 200  # bootstraps of an equal error rate, which is slow
FACES = ('orl', 'lfw')
ORDER = (IDENT, SAME, *(each for each in CONDITIONS if each not in (IDENT, SAME)))  # the source's


# Cells ------------------------------------------------------------------------------------------------------------


def cell(rate: Rate | None, why: str = 'the system cannot be asked about new pictures') -> page.Cell:
    """A rate, or why there is none."""
    return page.not_available(why) if rate is None else rate


def label(name: str) -> str:
    """A network's name as the source spells it, where it is one of its ten."""
    return NAMES.get(name, name)


def rung_label(rung: str) -> str:
    """A rung as the source spells it."""
    return 'No-Adapt' if rung in ('', NO_ADAPT) else rung


def modality(evidence: Evidence) -> str:
    """'Faces' or 'Fingerprints'."""
    faces = evidence.config['align'] != 'none' or evidence.everyone.meta['layout'] in FACES
    return 'Faces' if faces else 'Fingerprints'


def differs(evidence: Evidence, *more: str) -> str:
    """What sets ours apart from the published numbers: data, weights, scale."""
    meta, groups = evidence.everyone.meta, evidence.groups
    weights = evidence.config['candidates'].recognition.extractor.weights
    height, width = evidence.everyone.pixels.shape[2:]
    return '; '.join([
        f'Data: {"synthetic stand-in" if meta["synthetic"] else meta["name"]}, {height} x {width} px',
        f'networks {"trained in this run" if weights == "random" else f"with weights: {weights}"}',
        f'the attacker holds {len(groups.pictures("attacker")):,} pictures and {len(groups.of("victims"))} identities are '
        f'attacked (the source: 90,000 and more, and 336 or more)', *more])


def access(evidence: Evidence, group: str, arm: str) -> Row:
    """Identification and TAR at FMR 1 % in the system, as the source has them, and TAR in the judge."""
    return [cell(evidence.identified(group, arm)),
            *(cell(evidence.tar(group, arm, judge, against)) for judge in (False, True) for against in (IMAGE, IMPRESSION))]


def notes(*each: str) -> str:
    """Sentences under a table, without the empty ones."""
    return ' '.join(f'{text[0].upper()}{text[1:]}.' for text in each if text)


# Does it get in? --------------------------------------------------------------------------------------------------


def acceptance(evidence: Evidence) -> page.Body:
    """The headline: who gets in, in the judge and in the target."""
    names = [name for name in (END_TO_END, TOLD, PLACEBO, WRONG, MEAN, NEAREST, LINEAR_MAP, DIRECT)
             if ('headline', name) in evidence.arms]
    at, own = evidence.threshold(JUDGE), evidence.source_threshold(JUDGE)
    people = evidence.config['groups'].threshold
    judged = ('Judge: same person', 'Judge: strangers', 'Judge: difference')
    return page.section(
        'acceptance', 'Does it get in?',
        'Each stolen template becomes one picture, which is shown to a matcher as if it were the person. The judge is a '
        'matcher that the attacker never saw; the target is the network whose template was stolen. Strangers: the same '
        'pictures against other people\'s references, which is what chance lets in.',
        [page.table('headline', 'Acceptance at a threshold with a false match rate of 1 % on other people', [
            FROM, *judged, 'Judge: AUC', 'Judge: same image', 'Target: same person', 'Target: same image'],
            [*(_headline_row(evidence, name) for name in names),
             [OWN, evidence.genuine(JUDGE), None, None, None, None, evidence.genuine(evidence.system), None]],
            note=notes(f'the judge\'s threshold, {at.value:.3f}, has FMR {at.fmr:.2%} on {people} people whom nobody '
                       'trained on and who are not judged',
                       'same person: another impression; same image: the very picture whose template was stolen',
                       'placebo: the first of its draws',
                       brief(evidence).replace('these reconstructors', 'the wrong network\'s') if WRONG in names else '')),
         *_resolved(evidence, names),
         page.table('source-threshold', 'As the source: the threshold set on the very people who are judged',
                    [FROM, *judged], [*(_source_row(evidence, name) for name in (END_TO_END, TOLD)),
                                      [OWN, evidence.genuine(JUDGE, threshold=own), None, None]],
                    note=notes(f'the threshold is {own.value:.3f}; FMR 1 % holds by construction')),
         page.table('strict', 'TAR at FMR 0.1 %', [FROM, *BESIDE, 'Target: same image', 'Target: same subject'], [
             [name, *(cell(evidence.tar('headline', name, judge, against, STRICT))
                      for judge in (True, False) for against in (IMAGE, IMPRESSION))] for name in (END_TO_END, TOLD)])])


def brief(evidence: Evidence) -> str:
    """How much shorter the comparisons' reconstructors trained; '' where not at all."""
    invert = evidence.config['invert']
    share = 1.0 if invert.training.reconstructor.family == LINEAR else invert.brief
    return f'these reconstructors saw {share:.0%} of the headline\'s images' if share < 1 else ''


def _resolved(evidence: Evidence, names: Sequence[str]) -> list[page.Body]:
    """Of few people, who cannot set FMR 1 %: the same at the lowest rates that they can; else no table."""
    known = {JUDGE: evidence.threshold(JUDGE)}
    if evidence.tar('headline', END_TO_END) is not None:
        known[evidence.system] = evidence.threshold(evidence.system)
    rates = {matcher: at.fmr if at.resolvable else at.smallest for matcher, at in known.items()}
    lowest = {matcher: rate for matcher, rate in rates.items() if rate is not None}
    if all(at.resolvable for at in known.values()) or not lowest:
        return []
    places = [(matcher == JUDGE, rate) for matcher, rate in lowest.items()]

    def row(name: str) -> Row:
        found: Row = [name]
        for judge, fmr in places:
            at = evidence.threshold(evidence.matcher('headline', name, judge), fmr)
            accepted = evidence.accepted('headline', name, judge, at)
            found += [*(cell(evidence.tar('headline', name, judge, against, fmr)) for against in (IMPRESSION, IMAGE)),
                      None if accepted is None else accepted['strangers']]
        return found

    where = [name for judge, _ in places for name in (
        f'{"Judge" if judge else "Target"}: {each}' for each in ('same person', 'same image', 'strangers'))]
    stated = ', '.join(f'{"judge" if judge else "target"} {fmr:.1%}' for judge, fmr in places)
    own: Row = [OWN]
    for matcher, (_, fmr) in zip(lowest, places, strict=True):
        own += [evidence.genuine(matcher, fmr), None, None]
    return [page.table('resolved', f'Acceptance at the lowest false match rates that these people resolve ({stated})',
                       [FROM, *where], [*map(row, names), own])]


def _headline_row(evidence: Evidence, name: str) -> Row:
    judged = evidence.accepted('headline', name)
    assert judged is not None, 'the judge is always asked'
    return [name, *judged.values(), evidence.auc('headline', name), cell(evidence.tar('headline', name, True, IMAGE)),
            cell(evidence.tar('headline', name)), cell(evidence.tar('headline', name, against=IMAGE))]


def _source_row(evidence: Evidence, name: str) -> Row:
    found = evidence.accepted('headline', name, threshold=evidence.source_threshold(JUDGE))
    assert found is not None, 'the judge is always asked'
    return [name, *found.values()]


def chain(evidence: Evidence) -> page.Body:
    """Which network made it, and what a wrong answer costs."""
    places, candidates = evidence.config['places'], evidence.guesses['candidates']
    answers = {rung: np.array(evidence.guesses['answers'][rung]['named']) for rung in places}
    told = 'The attacker was told the network.' if evidence.config['told'] else (
        'A classifier that learnt from the attacker\'s own pictures, embedded by the unadapted candidates, names one '
        'network for each stolen vector; the reconstructor of that network makes the picture. Wrong answers count.')
    named = page.matrix(
        'answers', 'Networks named, by the target\'s adaptation', 'Every row has the same true network.',
        np.array([[np.mean(each == name) for name in candidates] for each in answers.values()]),
        [rung_label(rung) for rung in answers], [label(name) for name in candidates], x='named', y='adaptation')
    return page.section(
        'chain', 'One chain: which network, which picture, does it get in?', told, [
            page.table('chain', 'Model inference, and TAR at FMR 1 % end to end beside the right model given', [
                'Adaptation of the target', 'Network named rightly', 'Called "none of these"', 'Judge: end to end',
                'Judge: model given', 'Target: end to end', 'Target: model given'],
                [_chain_row(evidence, rung, place) for rung, place in places.items()],
                note=notes('another impression of the same person',
                           f'the attacker chooses among {len(candidates)}: {", ".join(map(label, candidates))}',
                           'a vector called "none of these" is still inverted with the likeliest network',
                           _spared(evidence)))],
        [named] if len(candidates) > 1 and not evidence.config['told'] else [])


def _chain_row(evidence: Evidence, rung: str, place: str) -> Row:
    group = 'rungs' if ('rungs', f'{rung}/{END_TO_END}') in evidence.arms else 'headline'
    names = [f'{rung}/{name}' if group == 'rungs' else name for name in (END_TO_END, TOLD)]
    mark = ' (the target)' if place == evidence.system else ''
    return [f'{rung_label(rung)}{mark}', *evidence.guessed(rung),
            *(cell(evidence.tar(group, name, judge)) for judge in (True, False) for name in names)]


def _spared(evidence: Evidence) -> str:
    """Candidates that hardly anybody's vector was taken for."""
    names = [label(name) for name in evidence.config['pool'] if evidence.unused(name)]
    return (f'under {LEAST:.0%} of the target\'s vectors were taken for {", ".join(names)}: there, a shorter training\'s '
            'reconstructor or the mean picture stands in') if names else ''


# Recognition ------------------------------------------------------------------------------------------------------


def recognition(evidence: Evidence) -> page.Body:
    """Table 2: how well the networks recognise real people."""
    rows: list[Row] = []
    for group, key in evidence.real:
        if group == 'victims':
            search = searched(evidence.real[group, key])
            judge = evidence.config['judge']
            family = judge.recognition.extractor.name if judge.kind == 'trained' else judge.kind
            rows.append([f'{key} ({family})' if key == JUDGE else label(key), rank_n(search, 1, evidence.seed),
                         evidence.genuine(key), evidence.genuine(key, STRICT), *_training(evidence, key)])
    return page.section(
        'recognition', 'The networks', 'How the networks recognise real pictures of the victims, whom none of them was '
        'trained on: a template against other impressions.', [page.table(
            'table-2', 'Identification and verification of real pictures', [
                'Model', 'Identification', 'TAR at 1 % FAR', 'TAR at 0.1 % FAR', 'Training identities', 'Training accuracy'],
            rows, note=notes('identification: the nearest reference among the victims\'',
                             'training accuracy: held-out pictures of the identities that the network learnt'),
            differs=differs(evidence), published='tangari-2')], fold=True)


def _training(evidence: Evidence, key: str) -> Row:
    """Identities that a network was trained on, and its accuracy on their held-out pictures."""
    name, _, rung = key.partition('@')
    if rung:
        found = evidence.ladder().get(rung)
        return [len(evidence.groups.of('adapt')), page.not_available('not kept') if found is None else found['accuracy']]
    facts = evidence.facts(f'network/{name}') or {'classes': 0, 'accuracy': None}
    return [facts[one] or page.not_available('it comes trained') for one in ('classes', 'accuracy')]


# Curves -----------------------------------------------------------------------------------------------------------


def errors(evidence: Evidence) -> page.Body:
    """Every error rate in the judge: reconstructions beside the person's own pictures."""
    table = evidence.table('headline', END_TO_END, JUDGE)
    assert table is not None, 'the judge is always asked'
    shown = {'reconstructions': table, 'real pictures': evidence.real['victims', JUDGE]}
    real = evidence.real['victims', JUDGE]
    false = real['similarity'].to_numpy(float)[pairs_of(real).impostor]
    curves, ranks = [], []
    for name, comparisons in shown.items():
        own = comparisons['similarity'].to_numpy(float)[pairs_of(comparisons).genuine]
        curve, search = error_curve(own, false).thinned(CURVE), searched(comparisons)
        curves.append(page.series(name, curve.fmr.tolist(), curve.fnmr.tolist()))
        found = cmc(search, min(RANKS, len(search.owner)))
        ranks.append(page.series(name, list(range(1, len(found) + 1)), found.tolist()))
    return page.section(
        'errors', 'Error rates in the judge', 'The matcher that the attacker never saw, at every threshold and every rank '
        '(ISO/IEC 19795-1).', [_verification(evidence, shown), _open_set(evidence, shown)],
        [page.det('det', 'Detection error trade-off', 'False matches are those of real pictures of two people; two normal '
                  'distributions make a straight line.', curves),
         page.lines('cmc', 'Cumulative match characteristic', 'The share of searches that find their person within so many '
                    'ranks; ties count their expectation.', 'rank', 'share', ranks)], fold=True)


def _verification(evidence: Evidence, shown: Mapping[str, page.Body]) -> page.Body:
    """EER, d', FAR and FRR, failures to acquire among them."""
    real, at, seed = quality_of(evidence.context.inputs['real']), evidence.threshold(JUDGE), evidence.seed
    least = float(np.quantile(real[real['group'] == 'threshold']['quality'], UNFIT))
    mine = evidence.measured('headline', END_TO_END)
    probes = {'reconstructions': mine, 'real pictures': real[real['group'] == 'victims']}
    rows: list[Row] = []
    for name, table in shown.items():
        pairs, similarity = pairs_of(table), table['similarity'].to_numpy(float)
        quality = probes[name].set_index('row')['quality']
        acquired = quality.loc[table['probe']].to_numpy() >= least
        rates = far_frr(similarity, pairs, at.value, acquired, seed)
        rows.append([name, separation(similarity, pairs, seed, draws=DRAWS)['eer'],
                     d_prime(similarity[pairs.genuine], similarity[pairs.impostor]),
                     failure_to_acquire(quality.to_numpy(), probes[name]['subject'].to_numpy().astype(str), least, seed),
                     rates['far'], rates['frr']])
    return page.table('verification', 'Verification', ['Probes', 'EER', 'd\'', 'FTA', 'FAR', 'FRR'], rows, note=notes(
        'impostors: the probes against other people\'s references',
        f'a probe is not acquired where its gray values deviate by less than {least:.1f}, as {UNFIT:.0%} of other people\'s '
        'real pictures do'))


def _open_set(evidence: Evidence, shown: Mapping[str, page.Body]) -> page.Body:
    strongest, _ = nonmate_scores(searched(evidence.real['threshold', JUDGE]))
    at = threshold_at_fmr(strongest, FPIR)
    rows: list[Row] = []
    for name, table in shown.items():
        rates = open_set(searched(table), at.value, evidence.seed)
        rows.append([name, rates['fpir'], cell(rates.get('fnir'))])
    return page.table('open-set', 'Open-set identification', ['Searches', 'FPIR', 'FNIR'], rows, note=notes(
        f'the threshold, {at.value:.3f}, lets {at.fmr:.1%} of other people\'s searches without a mate return a candidate',
        'FPIR: searches among other people\'s references that return one; FNIR: searches that miss their own'))


# How far does a reconstruction move? ------------------------------------------------------------------------------


def lipschitz(evidence: Evidence) -> page.Body:
    """Appendix E: the bound on a reconstruction's change, the source's beside it, and the change that is measured."""
    from fpray.attacks.inversion import change, measured_change
    from fpray.attacks.inversion import lipschitz as factors_of

    right, inputs = evidence.config['right'], evidence.context.inputs
    network = load_reconstructor(inputs[f'reconstructor/{right}'])
    factors = factors_of(network)
    bounds = network_bound(factors)
    places = np.flatnonzero(np.isin(np.load(inputs['asked'] / 'rows.npy'), evidence.groups.templates()))
    start = np.asarray(vectors_of(inputs[f'vectors/{right}']))[places]
    moves = {'a step in a random direction': measured_change(network, start, EPS, evidence.seed)} | {
        f'the vector at {rung_label(rung)}': change(network, start, np.asarray(vectors_of(inputs[f'vectors/{key}']))[places])
        for rung, key in evidence.config['places'].items() if key != right}
    return page.section(
        'lipschitz', 'How far a reconstruction can move', 'Two pictures (floats in [-1, 1]) lie at most so many times as '
        'far apart as their vectors: the product of the layers\' factors (appendix E).', [
            page.table('change', 'Measured change beside the bounds', [
                'From the unadapted vector to', 'Median', 'Largest', 'Bound', 'The source\'s bound'],
                [[name, float(np.nanmedian(moved)), float(np.nanmax(moved)), *bounds] for name, moved in moves.items()],
                note=notes('ours counts BatchNorm\'s own factor and the standardising of the vectors; the source leaves '
                           'both out, as contractive, so that its product is no bound where they are not')),
            page.table('layers', 'Factors of the layers', ['Layer', 'Kind', 'Bound', 'The source\'s'],
                       [[one.name, one.kind, one.bound, one.source] for one in factors])], fold=True)


# Who was adapted to? ----------------------------------------------------------------------------------------------


def membership(evidence: Evidence) -> dict[str, Rate] | None:
    """AUC over people of who was adapted to, from how compactly unseen pictures embed; None where nobody was."""
    groups, inputs = evidence.groups, evidence.context.inputs
    if 'ladder' not in inputs or f'vectors/{JUDGE}' not in inputs:
        return None
    rows = np.concatenate([groups.rows[identity][-HELD_OUT:] for group in ('adapt', 'threshold')
                           for identity in groups.of(group)])
    at = places(np.load(inputs['asked'] / 'rows.npy'), rows)
    person, identity = (evidence.everyone.records[name].to_numpy().astype(str)[rows] for name in ('subject', 'identity'))
    scores = {name: compactness(np.asarray(vectors_of(inputs[f'vectors/{key}']))[at], person, identity)
              for name, key in (('the target', evidence.system), ('placebo: the judge', JUDGE))}
    (who, own), (_, other) = scores.values()
    inside = np.isin(who, groups.people['adapt'])
    found = {name: auc_clustered(score, inside, who, seed=evidence.seed) for name, (_, score) in scores.items()}
    return found | {'target minus placebo': auc_difference(own, other, inside, who)}


def members(evidence: Evidence) -> page.Body | None:
    """User-level membership of the extractor itself."""
    found = membership(evidence)
    if found is None:
        return None
    return page.section(
        'members', 'Who was the network adapted to?', 'A network pulls the pictures of people whom it learnt together, and '
        'their unseen pictures too: people are ranked by how compactly those embed (Li, Rezaei & Liu 2022). The placebo is '
        'a network that saw neither side.', [page.table(
            'members', 'People adapted to against others', ['Network', 'AUC'], [[*row] for row in found.items()],
            note=notes(f'{HELD_OUT} pictures of each identity that the adaptation did not see'))], fold=True)


def pictures(evidence: Evidence) -> page.Body:
    """Originals beside reconstructions, where they may be shown."""
    return page.section(
        'reconstructions', 'Originals and reconstructions', 'A row is a victim; the first picture is the one whose template '
        'was stolen. Shown only where the people are synthetic, or where the report was asked to show them.', pictures='rec')
