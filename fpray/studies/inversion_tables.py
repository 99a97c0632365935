"""The tables and figures of an inversion, in the source's shapes: recognition, the chain, likeness, impersonation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fpray.attacks.compactness import compactness
from fpray.metrics.identification import cmc, nonmate_scores, open_set
from fpray.metrics.lipschitz import network_bound
from fpray.metrics.membership import auc_clustered
from fpray.metrics.rate import Rate
from fpray.metrics.verification import error_curve, threshold_at_fmr
from fpray.studies import sections as page
from fpray.studies.embedding_config import NO_ADAPT
from fpray.studies.inversion_config import (
    BASELINE,
    CONDITIONS,
    DIRECT,
    END_TO_END,
    IDENT,
    JUDGE,
    MEAN,
    NEAREST,
    PLACEBO,
    SAME,
    TOLD,
    key_of,
)
from fpray.studies.inversion_evidence import IMAGE, IMPRESSION, STRICT, Evidence, pairs_of, searched
from fpray.studies.inversion_steps import HELD_OUT
from fpray.studies.recognition_steps import extractor_words, vectors_of
from fpray.training.reconstruction import load_reconstructor

Row = list[page.Cell]
NAMES = {'face-resnet50': 'ResNet50', 'face-vgg16': 'VGG16', 'face-senet50': 'SENet50', 'face-openface': 'OpenFace',
         'face-facenet': 'Facenet', 'finger-resnet': 'ResNet', 'finger-inception': 'Inception',
         'finger-xception': 'Xception', 'finger-resnetv2': 'ResNetV2', 'finger-densenet': 'DenseNet'}  # as the source says
ACCESS = ('Identification', 'Same image', 'Same subject')
BESIDE = ('Judge: same image', 'Judge: same subject')
CURVE = 200  # points of a drawn curve
BINS = 24
EPS = 0.05  # length of the step along which a reconstructor's change is measured, of the vector's own
RANKS = 20
FACES = ('orl', 'lfw')


def all_sections(evidence: Evidence) -> list[page.Body]:
    """Every section of the page that this configuration has anything for."""
    makers = (acceptance, chain, recognition, adaptation, data, networks, embeddings, baseline, pool_miss, errors, lipschitz,
              members, pictures)
    return [found for make in makers if (found := make(evidence)) is not None]


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
    faces = not evidence.config['fingers'] or evidence.everyone.meta['layout'] in FACES
    return 'Faces' if faces else 'Fingerprints'


def differs(evidence: Evidence, *more: str) -> str:
    """What sets ours apart from the published numbers: data, weights, scale."""
    config, meta, groups = evidence.config, evidence.everyone.meta, evidence.groups
    extractor = config['candidates'].recognition.extractor
    data = 'synthetic stand-in' if meta['synthetic'] else meta['name']
    weights = 'trained in this run' if extractor.weights == 'random' else f'weights: {extractor.weights}'
    height, width = evidence.everyone.pixels.shape[2:]
    return '; '.join([f'Data: {data}, {height} x {width} px', f'networks {weights}',
                      f'the attacker holds {len(groups.pictures("attacker")):,} pictures, {len(groups.of("victims"))} '
                      f'identities are attacked (the source: 90,000 and 336)', *more])


def access(evidence: Evidence, group: str, arm: str) -> Row:
    """Identification and TAR at FMR 1 % in the system, as the source has them, and TAR in the judge."""
    return [cell(evidence.identified(group, arm)), cell(evidence.tar(group, arm, against=IMAGE)),
            cell(evidence.tar(group, arm)), cell(evidence.tar(group, arm, True, IMAGE)), cell(evidence.tar(group, arm, True))]


def likeness(evidence: Evidence, group: str, arm: str, mean: bool = False) -> Row:
    """DSSIM and perceptual distance."""
    why = 'not measured at this size'
    return [cell(evidence.likeness(group, arm, name, mean), why) for name in ('dssim', 'perceptual')]


def placed(condition: str, place: str) -> str:
    """Name of the arm of a condition at a place."""
    return f'{condition}/{place}'


BRIEF = 'the reconstructors of this table saw {share:.0%} of the images of the headline\'s'


def brief(evidence: Evidence) -> str:
    """How much shorter the comparisons' reconstructors trained; '' where not at all."""
    share = evidence.config['invert'].brief
    return BRIEF.format(share=share) if share < 1 else ''


def notes(*each: str) -> str:
    """Sentences under a table, without the empty ones."""
    return ' '.join(f'{text[0].upper()}{text[1:]}.' for text in each if text)


# Does it get in? --------------------------------------------------------------------------------------------------


def acceptance(evidence: Evidence) -> page.Body:
    """The headline: who gets in, in the judge and in the target."""
    group = 'headline'
    names = [name for name in (END_TO_END, TOLD, PLACEBO, MEAN, NEAREST, DIRECT) if (group, name) in evidence.arms]
    rows: list[Row] = []
    for name in names:
        judged = evidence.accepted(group, name)
        assert judged is not None
        rows.append([name, judged['own'], judged['strangers'], judged['difference'], evidence.auc(group, name),
                     cell(evidence.tar(group, name, True, IMAGE)), cell(evidence.tar(group, name)),
                     cell(evidence.tar(group, name, against=IMAGE))])
    genuine = evidence.genuine(JUDGE)
    rows.append(['the person\'s own picture', genuine, None, None, None, None,
                 cell(evidence.genuine(evidence.system)), None])
    at, own = evidence.threshold(JUDGE), evidence.source_threshold(JUDGE)
    return page.section(
        'acceptance', 'Does it get in?',
        'Each stolen template becomes one picture, which is shown to a matcher as if it were the person. The judge is a matcher '
        'that the attacker never saw; the target is the network whose template was stolen. "Strangers" are the same pictures '
        'against other people\'s references: what chance would let in.', [
            page.table('headline', 'Acceptance at a threshold with a false match rate of 1 % on other people', [
                'Pictures made from a template', 'Judge: same person', 'Judge: strangers', 'Judge: difference', 'Judge: AUC',
                'Judge: same image', 'Target: same person', 'Target: same image'], rows,
                note=notes(f'the threshold of the judge, {at.value:.3f}, has FMR {at.fmr:.2%} on {evidence.config["groups"].threshold} '
                           'people whom nobody trained on and who are not judged',
                           'same person: another impression; same image: the very picture whose template was stolen')),
            page.table('source-threshold', 'As the source: the threshold set on the very people who are judged', [
                'Pictures made from a template', 'Judge: same person', 'Judge: strangers', 'Judge: difference'],
                [[name, *(evidence.accepted(group, name, threshold=own) or {}).values()] for name in (END_TO_END, TOLD)] + [
                    ['the person\'s own picture', evidence.genuine(JUDGE, threshold=own), None, None]],
                note=notes(f'the threshold is {own.value:.3f}; FMR 1 % holds by construction')),
            page.table('strict', 'TAR at FMR 0.1 %', ['Pictures made from a template', 'Judge: same image', 'Judge: same person',
                                                      'Target: same image', 'Target: same person'],
                       [[name, *(cell(evidence.tar(group, name, judge, against, STRICT)) for judge in (True, False)
                                 for against in (IMAGE, IMPRESSION))] for name in (END_TO_END, TOLD)])])


def chain(evidence: Evidence) -> page.Body:
    """Which network made it, and what a wrong answer costs."""
    rows: list[Row] = []
    for rung, place in evidence.config['places'].items():
        right, unknown = evidence.guessed(rung)
        group = 'rungs' if (('rungs', f'{rung}/{END_TO_END}') in evidence.arms) else 'headline'
        names = [f'{rung}/{name}' if group == 'rungs' else name for name in (END_TO_END, TOLD)]
        mark = ' (the target)' if place == evidence.system else ''
        rows.append([f'{rung_label(rung)}{mark}', right, unknown, *(cell(evidence.tar(group, name, judge)) for judge in (
            True, False) for name in names)])
    candidates = evidence.guesses['candidates']
    answers = {rung: evidence.guesses['answers'][rung]['named'] for rung in evidence.config['places']}
    confusion = np.array([[np.mean(np.array(named) == name) for name in candidates] for named in answers.values()])
    told = 'The attacker was told the network.' if evidence.config['told'] else (
        'A classifier that learnt from the attacker\'s own pictures, embedded by the unadapted candidates, names one network '
        'for each stolen vector; the reconstructor of that network makes the picture. Wrong answers count.')
    return page.section(
        'chain', 'One chain: which network, which picture, does it get in?', told, [
            page.table('chain', 'Model inference, and TAR at FMR 1 % end to end beside the right model given', [
                'Adaptation of the target', 'Network named rightly', 'Called "none of these"', 'Judge: end to end',
                'Judge: model given', 'Target: end to end', 'Target: model given'], rows,
                note=notes('another impression of the same person',
                           f'the attacker chooses among {len(candidates)}: {", ".join(map(label, candidates))}',
                           'a vector called "none of these" is still inverted with the likeliest network',
                           *unavailable_guesses(evidence)))],
        [page.matrix('answers', 'Networks named, by the target\'s adaptation', 'Each row is the same true network.', confusion,
                     [rung_label(rung) for rung in answers], [label(name) for name in candidates],
                     x='named', y='adaptation')] if len(candidates) > 1 else [])


def unavailable_guesses(evidence: Evidence) -> list[str]:
    """Candidates that nobody's vector was taken for."""
    spared = [label(name) for name in evidence.config['pool'] if evidence.unused(name)]
    return [f'no reconstructor was trained for {", ".join(spared)}: nobody\'s vector was taken for theirs'] if spared else []


# Recognition ------------------------------------------------------------------------------------------------------


def recognition(evidence: Evidence) -> page.Body:
    """Table 2: how well the networks recognise real people."""
    rows: list[Row] = []
    for (group, key) in evidence.real:
        if group != 'victims':
            continue
        table = evidence.real[group, key]
        search = searched(table)
        from fpray.metrics.identification import rank_n

        rows.append([label(key), rank_n(search, 1, evidence.seed), evidence.genuine(key), evidence.genuine(key, STRICT),
                     *training_cells(evidence, key)])
    return page.section(
        'recognition', 'The networks', 'How the networks recognise real pictures of the victims, whom none of them was trained '
        'on: a template against other impressions.', [page.table(
            'table-2', 'Identification and verification of real pictures', [
                'Model', 'Identification', 'TAR at 1 % FAR', 'TAR at 0.1 % FAR', 'Training identities', 'Training accuracy'],
            rows, note=notes('identification: the nearest reference among the victims\'',
                             'training accuracy: held-out pictures of the identities that the network learnt'),
            differs=differs(evidence), published='tangari-2')], fold=True)


def training_cells(evidence: Evidence, key: str) -> Row:
    """Identities that a network was trained on, and its accuracy on their held-out pictures."""
    name, _, rung = key.partition('@')
    if rung:
        found = evidence.ladder().get(rung)
        return [len(evidence.groups.of('adapt')), page.not_available('not kept') if found is None else found['accuracy']]
    facts = evidence.facts(f'network/{name}')
    if facts is None:
        return [page.not_available('a black box')] * 2
    return [facts['classes'] or page.not_available('comes trained'), facts['accuracy'] if facts['accuracy'] is not None
            else page.not_available('comes trained')]


# Likeness and adaptation ------------------------------------------------------------------------------------------


def adaptation(evidence: Evidence) -> page.Body | None:
    """Tables 5, 9 and 15, Fig. 4: what adapting the network costs the attacker."""
    rungs, right, what = evidence.config['rungs'], evidence.config['right'], modality(evidence)
    if not rungs:
        return None
    five: list[Row] = [[rung_label(rung), *likeness(evidence, 'rungs', f'{rung}/{TOLD}')] for rung in rungs]
    nine: list[Row] = []
    for condition in evidence.config['conditions']:
        if condition != IDENT:
            nine.append([f'{what}, {condition}.'])
            nine += [[rung_label(rung), *access(evidence, 'conditions', placed(condition, key_of(right, rung)))]
                     for rung in rungs]
    ladder, total = evidence.ladder(), len(evidence.groups.pictures('adapt'))
    opened: list[Row] = [[rung, ladder[rung]['images_seen'], ladder[rung]['accuracy'], *drift(evidence, rung)]
                         for rung in rungs if rung in ladder]
    return page.section(
        'adaptation', 'Adaptation of the target',
        'The owner takes a public network and trains it on its own people; the attacker keeps the public one. All rungs are '
        'moments of one training that opens more and more layers.', [
            page.table('table-5', 'Reconstruction errors (median) when the target is adapted', [
                'Adaptation', f'{what}: DSSIM', f'{what}: perceptual'], five,
                note=notes(perceptual_words(evidence), 'DSSIM is (1 - SSIM) / 2'),
                differs=differs(evidence), published='tangari-5'),
            page.table('table-9', 'Impersonation when the target is adapted: identification, and TAR at FMR 1 %', [
                'Adaptation', *ACCESS, *BESIDE], nine, note=notes(brief(evidence)),
                differs=differs(evidence), published='tangari-9'),
            page.table('table-15', 'The adaptation', ['Adaptation', 'New images', 'Validation accuracy',
                                                      'Cosine to the unadapted vector'], opened,
                       note=notes(f'new images: pictures seen, of {total:,} different ones',
                                  'accuracy on pictures held out of every identity that is adapted to',
                                  'shares of layers opened are our own: the source prints none'),
                       differs=differs(evidence), published='tangari-15')],
        [page.steps(f'fig-4-{name}', f'{name.upper() if name == "dssim" else "Perceptual distance"} by adaptation (Fig. 4)',
                    'The share of reconstructions with at most this error.', name, 'share', [
                        page.distribution(rung_label(rung), values) for rung in rungs
                        if (values := values_of(evidence, 'rungs', f'{rung}/{TOLD}', name)) is not None])
         for name in ('dssim', 'perceptual') if values_of(evidence, 'rungs', f'{rungs[0]}/{TOLD}', name) is not None])


def drift(evidence: Evidence, rung: str) -> Row:
    """Median cosine of the victims' vectors before and after adaptation."""
    network = evidence.config['right']
    before, after = (np.asarray(vectors_of(evidence.context.inputs[f'vectors/{key}']), np.float64)
                     for key in (network, key_of(network, rung)))
    units = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (before, after)]
    return [float(np.median((units[0] * units[1]).sum(axis=1)))]


def values_of(evidence: Evidence, group: str, arm: str, name: str) -> np.ndarray | None:
    """Errors of one arm; None where they were not measured."""
    found = evidence.measured(group, arm)[name].to_numpy(float)
    return found if len(found) and np.isfinite(found).all() else None


def perceptual_words(evidence: Evidence) -> str:
    """Which network measures likeness."""
    key = evidence.config['perceptual']
    return f'perceptual: Euclidean distance of the vectors in {"the judge" if key == JUDGE else label(key)}, which no loss knows'


def data(evidence: Evidence) -> page.Body | None:
    """Table 6, Table 8's part of one target, Fig. 5: what the attacker's pictures are worth."""
    config, what = evidence.config, modality(evidence)
    conditions = [each for each in CONDITIONS[::-1][1:] + CONDITIONS[::-1][:1] if each in config['conditions']]
    place = key_of(config['right'], NO_ADAPT) if config['rungs'] else config['right']
    six: list[Row] = [[f'{each}.', *likeness(evidence, 'conditions', placed(each, place))] for each in conditions]
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
                'Attacker\'s data', f'{what}: DSSIM', f'{what}: perceptual'], six,
                note=notes(brief(evidence), perceptual_words(evidence)), differs=differs(evidence), published='tangari-6'),
            page.table('table-8', 'Identification, and TAR at FMR 1 %, by target and attacker\'s data', [
                'Target model', *ACCESS, *BESIDE], eight, note=notes(brief(evidence)), differs=differs(evidence),
                published='tangari-8')],
        [page.steps(f'fig-5-{name}', f'{name.upper() if name == "dssim" else "Perceptual distance"} by attacker\'s data (Fig. 5)',
                    'The share of reconstructions with at most this error.', name, 'share', [
                        page.distribution(each, values) for each in conditions
                        if (values := values_of(evidence, 'conditions', placed(each, place), name)) is not None])
         for name in ('dssim', 'perceptual')
         if values_of(evidence, 'conditions', placed(conditions[0], place), name) is not None])


def pipeline_words(evidence: Evidence) -> str:
    """What Diff-PreProc is here."""
    if evidence.config['other']:
        return 'a second sensor or set of their own'
    return 'a simulated second sensor' if evidence.config['fingers'] else 'another alignment, by the detector\'s box'


def networks(evidence: Evidence) -> page.Body | None:
    """Table 7 and Fig. 7: the target network's own part in it."""
    config = evidence.config
    if 'targets' not in config['arms']:
        return None
    own = ('conditions', placed(SAME, config['right']), config['right'])
    each = [own, *(('targets', arm.name, arm.name) for arm in config['arms']['targets'])]
    rows: list[Row] = []
    for group, arm, name in each:
        facts = config['candidates'].of(name).extractor
        rows.append([label(name), facts.length, *likeness(evidence, group, arm, True)])
    return page.section(
        'networks', 'The target network', 'Every candidate in turn is the target, not adapted, and inverted by a reconstructor '
        'of its own.', [page.table(
            'table-7', 'Reconstruction errors (mean) by target network', ['Model', 'Length', 'DSSIM', 'Perceptual'],
            [[f'{modality(evidence)}'], *rows], note=notes(brief(evidence), perceptual_words(evidence)),
            differs=differs(evidence, *(extractor_words(config['candidates'].of(name).extractor) for _, _, name in each[:1])),
            published='tangari-7')], distance_plots(evidence, each), fold=True)


def distance_plots(evidence: Evidence, each: Sequence[tuple[str, str, str]]) -> list[page.Body]:
    """Fig. 7: distances of original and reconstruction in the target, over those that fresh impressions have."""
    found = {name: values for group, arm, name in each if (values := values_of(evidence, group, arm, 'distance')) is not None}
    if not found:
        return []
    edges = np.linspace(0, max(float(values.max()) for values in found.values()), BINS + 1).tolist()
    return [page.histogram('fig-7', 'Distance of original and reconstruction in the target (Fig. 7)',
                           'Euclidean, of the vectors as they are: scales differ between networks.', 'distance', 'share',
                           [page.counts(label(name), values, edges) for name, values in found.items()])]


def embeddings(evidence: Evidence) -> page.Body | None:
    """Table 11: several stolen vectors of one person."""
    config = evidence.config
    if 'several' not in config['arms']:
        return None
    what, most = modality(evidence), config['most']
    rows: list[Row] = []
    for arm in config['arms']['several']:
        rows.append([f'{arm.name}.' if arm.name in CONDITIONS else 'Same-PreProc., the headline\'s reconstructor'])
        for number in config['embeddings']:
            if number > max(most, 1):
                rows.append([str(number), *[page.not_available(
                    f'an identity has {evidence.config["most"]} pictures to steal from')] * 4])
                continue
            own, judged = (evidence.accepted('several', arm.name, judge, first=number) for judge in (False, True))
            rows.append([str(number), cell(evidence.identified('several', arm.name, first=number)),
                         cell(own and own['own']), cell(own and own['strangers']), cell(judged and judged['own'])])
    return page.section(
        'embeddings', 'Several stolen templates', 'Identification takes the identity that most of the N reconstructions are '
        'taken for; verification succeeds if any one of them is accepted, by strangers just as by the person.', [page.table(
            'table-11', 'Impersonation with N stolen templates of an identity, TAR at FMR 1 %', [
                'Embeddings', 'Identification', 'Same subject', 'Strangers, any of N', 'Judge: same subject'], rows,
            note=notes('Same-Ident. is left out: the attacker\'s own pictures of the victims are those whose vectors are stolen',
                       brief(evidence), f'{what}: as many pictures as an identity has beside its references'),
            differs=differs(evidence), published='tangari-11')], fold=True)


def baseline(evidence: Evidence) -> page.Body | None:
    """Table 10: beside what the owner itself could train."""
    config = evidence.config
    if 'baseline' not in config['arms']:
        return None
    right = config['right']
    rung = next((rung for rung, key in config['places'].items() if key == evidence.system), NO_ADAPT)
    rows: list[Row] = [['Baseline', *access(evidence, 'baseline', BASELINE)]]
    for each in dict.fromkeys((NO_ADAPT, rung)):
        rows.append([f'Adversarial ({rung_label(each)})', *access(evidence, 'conditions', placed(SAME, key_of(right, each)))])
    return page.section(
        'baseline', 'Beside the non-adversarial inversion', 'The baseline (Dosovitskiy & Brox 2016) is no attack: it has the '
        'owner\'s pictures and network, and trains the network along so that vectors invert better.', [page.table(
            'table-10', 'Impersonation: identification, and TAR at FMR 1 %', ['Reconstructions', *ACCESS, *BESIDE], rows,
            note=notes(brief(evidence), 'the target is the network as it was before the baseline trained it along'),
            differs=differs(evidence), published='tangari-10')], fold=True)


def pool_miss(evidence: Evidence) -> page.Body | None:
    """Table 12: the target is none of the candidates."""
    config = evidence.config
    if 'pool' not in config['arms']:
        return None
    rows: list[Row] = []
    others = list(dict.fromkeys(arm.system for arm in config['arms']['pool']))
    for condition in (each for each in (IDENT, SAME, *CONDITIONS) if each in config['conditions']):
        if [f'{condition}.'] in rows:
            continue
        rows += [[f'{condition}.'], [label(config['right']), *access(evidence, 'conditions', placed(
            condition, key_of(config['right'], NO_ADAPT)))]]
        for name in others:
            rows.append([label(name), *access(evidence, 'pool', f'{condition}/{name}/ranges')])
            if condition == SAME:
                rows.append([f'{label(name)}, linear adapter', *access(evidence, 'pool', f'{condition}/{name}/linear')])
    return page.section(
        'pool', 'A target that is not in the pool', f'The attacker takes the vector for one of {label(config["right"])}, whose '
        'reconstructor it has; the real target is another network, trained on the same public people. Each dimension is '
        'stretched to the inferred network\'s range (section 7). The linear adapter is a stronger attacker: it can have some '
        'of its own pictures embedded by the target.', [page.table(
            'table-12', 'Impersonation when the target is not in the pool: identification, and TAR at FMR 1 %', [
                'Target model', *ACCESS, *BESIDE], rows, note=notes(brief(evidence)),
            differs=differs(evidence, 'the targets are other small networks, not ResNet50V2, ResNeXt, DenseNet and SENet50'),
            published='tangari-12')], fold=True)


# Curves -----------------------------------------------------------------------------------------------------------


def errors(evidence: Evidence) -> page.Body:
    """DET, CMC and open-set errors in the judge: reconstructions beside the person's own pictures."""
    table = evidence.table('headline', END_TO_END, JUDGE)
    assert table is not None
    shown = {'reconstructions': table, 'real pictures': evidence.real['victims', JUDGE]}
    curves, ranks, open_rows = [], [], []
    other = searched(evidence.real['threshold', JUDGE])
    strongest, person = nonmate_scores(other)
    at = threshold_at_fmr(strongest, 0.1)
    for name, comparisons in shown.items():
        pairs, similarity = pairs_of(comparisons), comparisons['similarity'].to_numpy(float)
        curve = error_curve(similarity[pairs.genuine], evidence.real['victims', JUDGE]['similarity'].to_numpy(float)[
            pairs_of(evidence.real['victims', JUDGE]).impostor]).thinned(CURVE)
        curves.append(page.series(name, curve.fmr, curve.fnmr))
        search = searched(comparisons)
        found = cmc(search, min(RANKS, len(search.owner)))
        ranks.append(page.series(name, list(range(1, len(found) + 1)), found))
        rates = open_set(search, at.value, evidence.seed)
        open_rows.append([name, rates['fpir'], cell(rates.get('fnir'))])
    return page.section(
        'errors', 'Error rates in the judge', 'The matcher that the attacker never saw, at every threshold and at every rank.', [
            page.table('open-set', 'Open-set identification errors', ['Searches', 'FPIR', 'FNIR'], open_rows, note=notes(
                f'the threshold, {at.value:.3f}, lets {at.fmr:.1%} of other people\'s searches without a mate return a candidate',
                'FPIR: searches among other people\'s references that return one; FNIR: searches that miss the own finger or face'))],
        [page.det('det', 'Detection error trade-off', 'False matches are those of real pictures of two people; straight lines '
                  'are normal distributions.', curves),
         page.lines('cmc', 'Cumulative match characteristic', 'The share of searches that find their person within so many '
                    'ranks; ties count their expectation.', 'rank', 'share', ranks)], fold=True)


# How far does a reconstruction move? ------------------------------------------------------------------------------


def lipschitz(evidence: Evidence) -> page.Body:
    """Appendix E: the bound on a reconstruction's change, the source's beside it, and the change that is measured."""
    from fpray.attacks.inversion import change, measured_change
    from fpray.attacks.inversion import lipschitz as factors_of

    right, context = evidence.config['right'], evidence.context
    network = load_reconstructor(context.inputs[f'reconstructor/{right}'])
    factors = factors_of(network)
    bound, source = network_bound(factors)
    asked = np.load(context.inputs['asked'] / 'rows.npy')
    places = np.flatnonzero(np.isin(asked, evidence.groups.templates()))
    start = np.asarray(vectors_of(context.inputs[f'vectors/{right}']))[places]
    random = measured_change(network, start, EPS, evidence.seed)
    rows: list[Row] = [['a step in a random direction', float(np.median(random)), float(random.max()), bound, source]]
    for rung, key in evidence.config['places'].items():
        if key != right:
            moved = change(network, start, np.asarray(vectors_of(context.inputs[f'vectors/{key}']))[places])
            rows.append([f'the vector at {rung_label(rung)}', float(np.nanmedian(moved)), float(np.nanmax(moved)), bound, source])
    layers = [[factor.name, factor.kind, factor.bound, factor.source] for factor in factors]
    return page.section(
        'lipschitz', 'How far a reconstruction can move', 'Times the distance of two vectors, the distance of their pictures '
        '(floats in [-1, 1]) is at most the product of the layers\' factors (appendix E).', [
            page.table('change', 'Measured change beside the bounds', [
                'From the unadapted vector to', 'Median', 'Largest', 'Bound', 'The source\'s bound'], rows,
                note=notes('ours counts BatchNorm\'s own factor and the standardising of the vectors; the source calls '
                           'normalisation contractive, which it is not: its product may lie under what is measured')),
            page.table('layers', 'Factors of the layers', ['Layer', 'Kind', 'Bound', 'The source\'s'], layers)], fold=True)


# Who was adapted to? ----------------------------------------------------------------------------------------------


def membership(evidence: Evidence) -> dict[str, Rate] | None:
    """AUC over people of who was adapted to, from how compactly unseen pictures embed; None where nobody was."""
    groups, context = evidence.groups, evidence.context
    if 'ladder' not in context.inputs or f'vectors/{JUDGE}' not in context.inputs:
        return None
    asked = np.load(context.inputs['asked'] / 'rows.npy')
    rows = {group: np.concatenate([groups.rows[identity][-HELD_OUT:] for identity in groups.of(group)])
            for group in ('adapt', 'threshold')}
    both = np.concatenate(list(rows.values()))
    order = np.argsort(asked)
    places = order[np.searchsorted(asked, both, sorter=order)]
    records = evidence.everyone.records
    person, identity = (records[name].to_numpy().astype(str)[both] for name in ('subject', 'identity'))
    inside = set(groups.people['adapt'])
    found = {}
    for name, key in (('target', evidence.system), ('placebo', JUDGE)):
        who, score = compactness(np.asarray(vectors_of(context.inputs[f'vectors/{key}']))[places], person, identity)
        found[name] = auc_clustered(score, np.isin(who, list(inside)), who, seed=evidence.seed)
    return found


def members(evidence: Evidence) -> page.Body | None:
    """User-level membership of the extractor itself."""
    found = membership(evidence)
    if found is None:
        return None
    return page.section(
        'members', 'Who was the network adapted to?', 'A network pulls the pictures of people it learnt together, and their '
        'unseen pictures too: people are ranked by how compactly those embed (Li, Rezaei & Liu 2022). The placebo asks a network '
        'that saw neither side.', [page.table('members', 'People adapted to against others', ['Network', 'AUC'], [
            ['the target', found['target']], ['placebo: the judge', found['placebo']]],
            note=notes(f'{HELD_OUT} pictures of each identity that the adaptation did not see'))], fold=True)


def pictures(evidence: Evidence) -> page.Body:
    """Originals beside reconstructions, where they may be shown."""
    return page.section('reconstructions', 'Originals and reconstructions', 'The first column is the picture whose template was '
                        'stolen. Shown only where the people are synthetic, or where the report was asked to show them.',
                        pictures='rec')


def unique(items: Iterable[Any]) -> list[Any]:
    """Each once, in order."""
    return list(dict.fromkeys(items))
