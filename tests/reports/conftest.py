"""A whole results.json of a study that never ran, drawn from a seed: what every test of the reports reads."""

import math

import numpy as np
import pytest

from fpray.metrics.rate import Rate
from fpray.reports.published_tangari import PUBLISHED
from fpray.reports.results import plain
from fpray.studies import sections

SIZES = {10: 60, 20: 120, 40: 240}
ATTACKS = {'shadow': 0.72, 'white_box': 0.97, 'nearest': 0.53, 'nearest_calibrated': 0.56}
CLASSES = {'arch': 0.04, 'tented_arch': 0.03, 'left_loop': 0.34, 'right_loop': 0.31, 'whorl': 0.28}


def rate(estimate, half=0.08, chance=0.5, n=240, n_people=80, p=None, note=''):
    """A rate as the schema asks; without an estimate or a half width it has no interval."""
    ends = [None, None] if estimate is None or half is None else [max(estimate - half, -1.0),
                                                                  min(estimate + half, 1.0)]
    return {'estimate': estimate, 'interval': ends, 'chance': chance, 'n': n, 'n_people': n_people, 'p': p,
            'note': note}


def _attack(name, contrast, people, unit, auc, rng):
    n = SIZES[people] * 2
    k = [('20', 20), ('200', 200), ('50%', n // 2)]
    top = [{'k': key, 'k_pictures': size, 'hits': round(size * min(auc, 0.95), 1),
            'distinct_people': people // 2,
            'rate': rate(round(min(auc, 0.95), 3), 0.11, 0.5, n, 2 * people, float(rng.uniform(0.001, 0.3))),
            'binomial_p': float(rng.uniform(1e-5, 0.2))} for key, size in k if size <= n // 2 or key == '50%']
    thousandth = rate(None, None, 0.001, n, 2 * people, None, 'smallest resolvable rate here is 2.1 %')
    return {'attack': name, 'contrast': contrast, 'victim': f'gan_{people}', 'people': people, 'unit': unit,
            'how': '' if unit == 'picture' else 'mean', 'auc': rate(auc, 0.4 / math.sqrt(people), 0.5, n,
                                                                    2 * people, 0.004),
            'tpr_at_fpr_1pct': rate(round(0.01 + max(auc - 0.5, 0) ** 2, 4), 0.01, 0.01, n, 2 * people),
            'tpr_at_fpr_0_1pct': thousandth, 'balanced_accuracy': rate((auc + 0.5) / 2, 0.06, 0.5, n,
                                                                       2 * people),
            'top': top, 'max_t_p': 0.012 if auc > 0.65 else 0.41, 'optimistic': False}


def _stopping(people, number, reached, rng):
    seen = np.arange(2000, 42000, 2000)
    level = 1.72 - 0.16 * (not reached)
    score = 1 + (level - 1) * (1 - np.exp(-seen / 9000)) + rng.normal(0, 0.012, len(seen))
    auc = 0.5 + 0.2 * np.exp(-((seen - 21000) / 15000.0) ** 2) + rng.normal(0, 0.012, len(seen))
    trace = [{'images_seen': int(s), 'is_mean': float(i), 'is_std': 0.04,
              'frechet': float(60 * math.exp(-s / 9000) + 3),
              'auc': float(a)} for s, i, a in zip(seen, score, auc, strict=True)]
    rules = [('matched IS', 26000, False), ('first', 2000, False), ('first crossing', 14000, False), ('last', 40000, False),
             ('nearest Frechet', 38000, False), ('best in hindsight', int(seen[auc.argmax()]), True)]
    by_seen = {point['images_seen']: point['auc'] for point in trace}
    return {'shadow': f'shadow_{number}', 'victim': f'gan_{people}',
            'target': {'is_mean': 1.70, 'is_std': 0.04},
            'trace': trace, 'stopped_at': 26000, 'reached': reached,
            'rules': [{'rule': rule, 'images_seen': at, 'optimistic': lucky,
                       'auc': rate(by_seen[at], None if lucky else 0.07,
                                   note='chosen with the labels' if lucky else '')} for rule, at,
                      lucky in rules]}


def _curves(rng):
    roc, histograms = {}, {}
    for contrast, keep in (('mia', 1.0), ('iia', 0.55), ('memorisation', 0.5)):
        for attack, auc in ATTACKS.items():
            shift = keep * 3.2 * (auc - 0.5)
            members, others = rng.normal(shift, 1, 240), rng.normal(0, 1, 240)
            cuts = np.sort(np.concatenate([members, others]))[::-4]
            roc[f'{attack}/{contrast}'] = {'fpr': [float((others >= c).mean()) for c in cuts],
                                           'tpr': [float((members >= c).mean()) for c in cuts]}
            if attack == 'shadow':
                edges = np.linspace(-3.2, 4.2, 31)
                histograms[f'{attack}/{contrast}'] = {
                    'edges': edges.tolist(), 'positives': np.histogram(members, edges)[0].tolist(),
                    'negatives': np.histogram(others, edges)[0].tolist()}
    return roc, histograms


def _controls(available):
    pictures = {'auc': rate(0.51, 0.09, p=0.61, note='cross-fitted by person'), 'p_holm': 1.0, 'features': {
        name: rate(value, 0.09, p=0.5) for name, value in
        (('mean gray', 0.52), ('contrast', 0.49), ('spectrum slope', 0.53), ('file size', 0.47))}}
    controls = {'placebo': {'auc': rate(0.52, 0.09, p=0.47), 'p_holm': 1.0, 'victim': 'placebo_40'},
                'pictures_alone': pictures, 'permuted_null': {'auc': rate(0.5, 0.12, p=0.5)},
                'rehearsal': {'auc': rate(0.74, 0.1, p=0.001), 'victim': 'rehearsal_40'},
                'smallest_detectable': {'auc': rate(0.63, None), 'power': 0.8, 'level': 0.05}}
    if not available:
        controls['placebo'] = {'not_available': '10 fingers are too few for a placebo; give --data.reference'}
        controls['rehearsal'] = {'not_available': 'no people are left for a rehearsal victim'}
    return controls


def _tables(rng, attacks):
    points = ('training images', 240, 40, 3, 2.61), ('held-out impressions', 240, 40, 2, 2.48), \
        ('unseen fingers', 240, 40, 3, 2.39), ('noise', 240, 0, None, 1.02)
    table_4_1 = [{'name': name, 'images': images, 'people': people, 'impressions': k, 'is_mean': score,
                  'is_std': 0.05,
                  'frechet': 0.6 if name != 'noise' else 210.4, 'precision': 0.93, 'recall': 0.88,
                  'distinct_identities': 61, 'role': 'reference'} for name, images, people, k,
                 score in points]
    table_4_1 += [{'name': f'{role} {people}', 'images': n, 'people': people, 'impressions': 3,
                   'is_mean': 1.7,
                   'is_std': 0.04, 'frechet': 10.6, 'precision': 0.61, 'recall': 0.22,
                   'distinct_identities': 23,
                   'role': role} for role in ('victim', 'shadow') for people, n in SIZES.items()]
    tops = {(a['people'], a['contrast']): {cell['k']: {k: v for k,
                                                       v in cell.items() if k != 'k'} for cell in a['top']}
            for a in attacks if a['attack'] == 'shadow' and a['unit'] == 'picture'}
    table_5_1 = [{'victim': f'gan_{people}', 'people': people, 'images': n, 'mia': tops[people, 'mia'],
                  'iia': tops[people, 'iia']} for people, n in SIZES.items()]
    return table_4_1, table_5_1


def _search():
    ends = [('complete', 0.19), ('complete', 0.08), ('pruned', 0.41), ('complete', 0.05), ('failed', None),
            ('pruned', 0.35),
            ('complete', 0.12), ('complete', 0.06)]
    trials = [{'number': i, 'params': {'blocks': 2 + i % 3, 'width': 16 * (1 + i % 2), 'noise': 64,
                                       'lr': 0.0002 * (1 + i)},
               'value': value, 'images': 16000 if state == 'pruned' else 40000, 'state': state,
               'seconds': 41.3 + i}
              for i, (state, value) in enumerate(ends)]
    return {'trials': trials, 'best': 3, 'mode': 'rounds', 'objective': '|IS(shadow) - IS(victim)|'}


def _victims(rng):
    seen = range(2000, 50000, 2000)
    return [{'name': f'gan_{people}', 'people': people, 'images': n, 'trained_images': 48000,
             'losses': [{'images_seen': s, 'discriminator': float(0.9 - s / 150000 + rng.normal(0, 0.03)),
                         'generator': float(1.1 + s / 60000 + rng.normal(0, 0.05))} for s in seen],
             'trace': [{'images_seen': s, 'is_mean': 1 + 0.7 * (1 - math.exp(-s / 7000)), 'is_std': 0.04,
                        'frechet': 12.0} for s in seen]} for people, n in SIZES.items()]


def _data(synthetic, subject_known):
    groups = {'members': 40, 'nonmembers': 40, 'scoring': 60, 'placebo': 40, 'rehearsal_in': 40,
              'rehearsal_out': 40}
    return {'name': 'synthetic fingers' if synthetic else 'SOCOFing',
            'layout': 'synthetic' if synthetic else 'socofing',
            'synthetic': synthetic, 'label': 'synthetic stand-in' if synthetic else 'SOCOFing',
            'subject_known': subject_known,
            'n_people': 260, 'n_identities': 520, 'n_images': 2600, 'image_size': [64, 64],
            'duplicates_left_out': 2,
            'skipped': [], 'altered_for_iia': not synthetic,
            'groups': {name: {'people': n, 'identities': 2 * n, 'images': 6 * n} for name,
                       n in groups.items()}}


def build(seed=0, available=True, synthetic=True, subject_known=True):
    """Results of a made-up desk study; `available=False` leaves placebo and rehearsal out."""
    rng = np.random.default_rng(seed)
    weak = {'mia': 1.0, 'iia': 0.5, 'memorisation': 0.45}
    attacks = [_attack(name, contrast, people, unit,
                       min(0.99, 0.5 + (auc - 0.5) * weak[contrast] * (1.4 - people / 100)), rng)
               for people in SIZES for name, auc in ATTACKS.items() for contrast in weak
               for unit in (('picture', 'subject') if name == 'shadow' else ('picture',))]
    roc, histograms = _curves(rng)
    table_4_1, table_5_1 = _tables(rng, attacks)
    top = {k: {name: min(1.0, value * f) for name, value in CLASSES.items()} for k,
           f in (('20', 1.3), ('200', 1.1))}
    stages = [('data', 4.0, True), ('scorer', 31.5, False), ('victim_40', 122.0, False),
              ('search', 340.0, False)]
    cannot = 'Cannot say, because there is no placebo and no rehearsal for 10 people a side'
    found = 'Found: membership in this generator\'s training set (AUC 0.62-0.80, 80 people)'
    return {
        'schema_version': 1, 'title': 'What does this fingerprint generator give away?', 'study': 'mia',
        'preset': 'desk',
        'seed': seed, 'config': {'data': {'root': '', 'size': 64},
                                 'split': {'sizes': [10, 20, 40], 'headline': 40}},
        'config_hash': '3f9a0c51d2e77b84a1c0', 'fpray_version': '0.1.0',
        'created': '2026-01-02T03:04:05+00:00',
        'verdict': found if available else cannot,
        'summary': ['An attacker who sees only samples ranks a person trained on first in 71 of 100 pairs.',
                    'The same attack on a placebo stays at chance; on a rehearsal victim it finds the leak.'],
        'warnings': [] if available else ['Fewer than 10 people a side: too few people for a verdict.'],
        'data': _data(synthetic, subject_known), 'epsilon': {
            'kind': 'log_odds', 'value': 0.62, 'delta': None, 'ceiling': 2.2, 'n_people': 80,
            'note': 'No coin per person.'},
        'threat_models': [{'name': name, 'infers': 'whether a picture or a person was trained on',
                           'sees': 'the weights' if name == 'white_box' else 'samples only',
                           'holds': 'query pictures',
                           'source': 'Hayes et al. 2019, LOGAN'} for name in ATTACKS],
        'primary': {'attack': 'shadow', 'contrast': 'mia', 'victim': 'gan_40', 'unit': 'subject',
                    'auc': rate(0.71, 0.09, p=0.001), 'minus_placebo':
                    rate(0.19, 0.11, 0.0, p=0.002) if available else rate(None, None, 0.0,
                                                                          note='no placebo victim'),
                    'threshold': {'value': 0.53, 'source': 'the rehearsal victim'}},
        'controls': _controls(available), 'attacks': attacks, 'table_4_1': table_4_1, 'table_5_1': table_5_1,
        'sweep': [{'people': a['people'], 'images': SIZES[a['people']], 'attack': a['attack'],
                   'contrast': a['contrast'],
                   'auc': a['auc'], 'headline': a['people'] == 40}
                  for a in attacks if a['unit'] == 'picture'],
        'scoring_network': {'name': 'in-domain classifier', 'classes': 'pattern type', 'n_classes': 5,
                            'n_samples': 240},
        'stopping': [_stopping(40, i, i < 3, rng) for i in (1, 2, 3)] + [_stopping(10, 1, True, rng)],
        'search': _search(), 'shadows': {'aucs': [rate(v) for v in (0.66, 0.69, 0.68)], 'spread': 0.03},
        'victims': _victims(rng), 'pattern_shares': {'set': CLASSES, 'top': top}, 'roc': roc,
        'histograms': histograms,
        'rerun': {'command': 'python jobs/mia_sweep.py --config runs/3f9a/config.json --store runs',
                  'config_path': 'runs/3f9a/config.json'},
        'timing': {'wall_s': 612.4, 'stages': [{'name': name, 'key': '0a1b2c3d4e5f60718293', 'seconds': s,
                                                'cached': c}
                                               for name, s, c in stages]},
        'environment': {'python': '3.11.2', 'device': 'cpu', 'threads': 1},
    }


COMMON = ('schema_version', 'preset', 'seed', 'config_hash', 'fpray_version', 'created', 'summary', 'warnings', 'data',
          'primary', 'controls', 'epsilon', 'rerun', 'timing', 'environment')
LAMBDAS = (0.01, 0.003, 0.001, 0.0003)
CODEC_ATTACKS = {'rate-distortion': 0.58, 'rate': 0.66, 'distortion': 0.55, 'psnr': 0.55, 'calibrated': 0.79,
                 'calibrated-png': 0.61, 'calibrated-jpeg': 0.6, 'bands': 0.74, 'lira': 0.76, 'rmia': 0.77}


def _codec_attack(name, contrast, auc, unit, rng):
    row = _attack(name, contrast, 40, unit, auc, rng)
    return row | {'victim': 'codec_0.01'}


def _gap(value, half, p):
    return rate(value, None, 0.0, p=p) | {'interval': [value - half, value + half]}


def _lambda_row(lmbda, i):
    bpp, mse = 1.4 - 0.33 * i, 60.0 * 3**i
    sides = {'bpp': (bpp, -0.0021 if i else -0.031, 0.0018), 'mse': (mse, 0.9 - 2.1 * (i < 2), 1.1),
             'loss': (bpp + lmbda * mse, -0.06 + 0.03 * i, 0.021)}
    return {'lmbda': lmbda, 'victim': f'codec_{lmbda:g}', 'primary': i == 0,
            'sides': {key: {'members': middle + gap, 'nonmembers': middle, 'gap': _gap(gap, half, 0.02)}
                      for key, (middle, gap, half) in sides.items()},
            'auc': rate(0.79 - 0.07 * i, 0.09, p=0.001), 'auc_uncalibrated': rate(0.58 - 0.03 * i, 0.1, p=0.2)}


def _rate_distortion(rng):
    points, means = [], []
    for i, lmbda in enumerate(LAMBDAS):
        bpp = np.abs(rng.normal(1.4 - 0.33 * i, 0.16, 240))
        mse = 60.0 * 3**i * np.exp(rng.normal(0, 0.25, 240))
        psnr = 20 * np.log10(255) - 10 * np.log10(mse)
        points.append({'lmbda': lmbda, 'bpp': bpp, 'psnr': psnr, 'mse': mse})
        means.append({'lmbda': lmbda, 'bpp': bpp.mean(), 'mse': mse.mean(), 'psnr': psnr.mean(), 'ssim': 0.93 - 0.08 * i,
                      'ms_ssim': None, 'n': 240, 'n_people': 80})
    fit = {key: dict(zip(('slope', 'intercept'), np.polyfit([m['bpp'] for m in means], [m[key] for m in means], 1),
                         strict=True)) for key in ('psnr', 'mse')}
    classical = [{'codec': codec, 'points': [
        {'setting': q, 'bpp': start + q / 60, 'mse': 65025 / 10**((22 + gain + q / 12) / 10), 'psnr': 22 + gain + q / 12,
         'ssim': 0.7 + q / 400} for q in (10, 30, 50, 70, 90)]}
        for codec, start, gain in (('JPEG', 1.1, 0.0), ('JPEG 2000', 0.4, 1.0), ('WebP', 4.2, 2.0))]
    return {'points': points, 'means': means, 'fit': fit, 'classical': classical}


def _codecs(rng):
    roles = [(f'codec_{lmbda:g}', 'victim', lmbda) for lmbda in LAMBDAS]
    roles += [(f'reference_{lmbda:g}', 'reference', lmbda) for lmbda in LAMBDAS]
    roles += [(f'shadow_{k}', 'shadow', 0.01) for k in range(8)]
    roles += [('placebo', 'control', 0.01), ('rehearsal', 'control', 0.01)]
    roles += [(name, 'defence', 0.01) for name in ('twin', 'stand-in', 'early-stop', 'dp-sgd')]
    seen = np.arange(1000, 21000, 1000)
    curves = {name: (4 - i % 4) * (0.4 + 30 * np.exp(-seen / 1200)) + rng.normal(0, 0.03, len(seen))
              for i, (name, _, _) in enumerate(roles)}
    return [{'name': name, 'role': role, 'lmbda': lmbda, 'people': None if name == 'stand-in' else 40, 'images': 240,
             'trained_images': 20000,
             'curve': [{'images_seen': s, 'loss': value, 'bpp': value / 3, 'mse': value / 3 / lmbda}
                       for s, value in zip(seen, curves[name], strict=True)]} for name, role, lmbda in roles]


def _frontier():
    rows = [('none', 0.79, 0.0, 0.0, 3, ''), ('twin', 0.53, -1.4, 19.0, 3, ''), ('stand-in', 0.51, -2.9, 41.0, 1, ''),
            ('early-stop', 0.61, -0.8, 11.0, 1, ''), ('regularised', 0.72, -0.75, 10.0, 1, ''),
            ('dp-sgd', 0.52, None, None, 1, 'its rates do not overlap')]
    fresh = rate(0.56, 0.1, note='people who had no part in the choice')
    return {'rows': [{'defence': name, 'text': f'what {name} does', 'victims': victims, 'lmbda': 0.01,
                      'auc': rate(auc, 0.08), 'auc_fresh': fresh if name == 'twin' else None,
                      'minus_placebo': None if name == 'stand-in' else rate(auc - 0.5, 0.1),
                      'uncalibrated': rate(0.55, 0.08), 'bpp': 1.3, 'psnr': 28.1, 'psnr_difference': difference,
                      'bd_rate': bd, 'epsilon': 8.0 if name == 'dp-sgd' else None,
                      'delta': 0.001 if name == 'dp-sgd' else None, 'note': note}
                     for name, auc, difference, bd, victims, note in rows],
            'choice': {'candidates': [{'name': f'gan_{n}', 'auc': rate(auc, 0.09), 'text': f'trained on {n} people'}
                                      for n, auc in ((10, 0.81), (20, 0.66), (40, 0.57))], 'chosen': 'gan_40'}}


def _fidelity(available):
    if not available:
        return {'not_available': 'needs pyfing: pip install "fpray[fingerprints]"'}
    return {'pictures': 240, 'paired': True, 'tolerance_px': 8, 'ridges': {'frequency': rate(-0.002, 0.003, 0.0),
                                                           'coherence': rate(-0.03, 0.01, 0.0)},
            'minutiae': {'precision': rate(0.81, 0.05, None), 'recall': rate(0.77, 0.05, None),
                         'distance': {'wasserstein': rate(0.4, 0.1, 0.0)}},
            'pores': {'not_available': 'pores need 1000 dpi'}, 'extractor': 'pyfing, pretrained'}


def build_codec(seed=0, available=True, synthetic=True, subject_known=True):
    """Results of a made-up codec study; `available=False` leaves placebo, rehearsal and fidelity out."""
    rng = np.random.default_rng(seed)
    results = {key: value for key, value in build(seed, available, synthetic, subject_known).items() if key in COMMON}
    weak = {'mia': 1.0, 'iia': 0.5, 'memorisation': 0.45}
    attacks = [_codec_attack(name, contrast, 0.5 + (auc - 0.5) * weak[contrast], unit, rng)
               for name, auc in CODEC_ATTACKS.items() for contrast in weak for unit in ('picture', 'subject')]
    tops = {a['contrast']: {cell['k']: {k: v for k, v in cell.items() if k != 'k'} for cell in a['top']}
            for a in attacks if a['attack'] == 'calibrated' and a['unit'] == 'picture'}
    roc, histograms = _curves(rng)
    found = 'Found: a leak of membership (AUC 0.62-0.80, 80 people)'
    cannot = 'Cannot say, because there is no placebo and no rehearsal for 10 people a side'
    lacking = {'not_available': 'memorisation and IIA need a second impression'}
    return results | {
        'title': 'What does this fingerprint codec give away?', 'study': 'codec', 'config': {'lmbda': 0.01},
        'verdict': found if available else cannot, 'summary': ['A codec spends fewer bits on pictures it knows.'],
        'threat_models': [{'name': name, 'infers': 'whether a picture or a person was trained on',
                           'sees': 'bits and the decoded picture', 'holds': 'query pictures', 'source': 'Cavasin 2023'}
                          for name in CODEC_ATTACKS],
        'primary': results['primary'] | {'attack': 'calibrated', 'victim': 'codec_0.01'}, 'attacks': attacks,
        'roc': {key.replace('shadow', 'calibrated'): value for key, value in roc.items() if key.startswith('shadow')},
        'histograms': {key.replace('shadow', 'calibrated'): value for key, value in histograms.items()}, 'sweep': [],
        'table_6_1': [{'victim': f'codec_{lmbda:g}', 'lmbda': lmbda, 'people': 40, 'images': 240, 'mia': tops['mia'],
                       'iia': tops['iia'] if available else lacking} for lmbda in LAMBDAS],
        'codec': {'primary_lmbda': 0.01, 'family': 'mean-scale', 'parameters': 214355,
                  'lambdas': [_lambda_row(lmbda, i) for i, lmbda in enumerate(LAMBDAS)],
                  'rate_distortion': _rate_distortion(rng), 'codecs': _codecs(rng), 'frontier': _frontier(),
                  'fidelity': _fidelity(available),
                  'bitstream': {'files': 240, 'largest_excess_bytes': 13.0, 'mean_overhead': 0.0084}},
    }


@pytest.fixture
def make_results():
    """The builder itself, so that a test can ask for the variant it needs."""
    return build


@pytest.fixture
def make_codec_results():
    """The builder of a codec study."""
    return build_codec


def _other_family(results):
    """The study with a second family's codec at every lambda, named as the study names it."""
    results = plain(results)
    stored = results['codec']
    for rows in (stored['rate_distortion']['points'], stored['rate_distortion']['means']):
        rows += [row | {'family': 'scale'} for row in rows]
    stored['lambdas'] += [row | {'victim': f'{row["lmbda"]:g}-scale', 'primary': False} for row in stored['lambdas']]
    return results


@pytest.fixture
def two_families():
    """Gives a codec study a second family."""
    return _other_family


# Studies whose tables and plots come as sections.

WEIGHTS = 'synthetic fingers of 64 px for PolyU; networks of this run for ImageNet\'s; 60 people for 336'
LADDER = ['No-Adapt', 'FT-1', 'FT-2', 'FT-3', 'FT-4', 'FT-5']
FAMILIES = ['small-plain', 'small-residual', 'small-dense', 'small-separable']


def _share(value, half=0.05, chance=0.25, n=240, n_people=60, note=''):
    """A Rate within 0 and 1."""
    if value is None:
        return Rate(None, (None, None), chance, n, n_people, None, note)
    return Rate(value, (max(value - half, 0.0), min(value + half, 1.0)), chance, n, n_people, None, note)


def _confusion(rng, k, right, columns=None):
    counts = rng.multinomial(60, np.full(columns or k, (1 - right) / ((columns or k) - 1)), size=k)
    counts[np.arange(k), np.arange(k)] += round(60 * right / (1 - right)) if right < 1 else 60
    return sections.row_shares(counts)


def _inference_sections(rng):
    falling = np.array([0.93, 0.92, 0.91, 0.85, 0.8, 0.62])
    table_3 = []
    for length in (128, 512):
        table_3.append([f'Fingerprints, length {length}'])
        for name, loss in (('Same-Ident.', 0.0), ('Same-PreProc.', 0.02), ('Diff-PreProc.', 0.14)):
            table_3.append([name, *(_share(v - loss) for v in falling)])
    ladder = [sections.rates(name, LADDER, [_share(v - 0.02 - 0.06 * i) for v in falling])
              for i, name in enumerate(('auxiliary, five layers', 'linear', 'nearest neighbour'))]
    pool = [f'timm/{family}-{i}' for i in range(8) for family in ('resnet', 'efficientnet', 'mobilenetv3_small_minimal')]
    wrong = _confusion(rng, 24, 0.9, 25)
    wrong[3] = np.nan
    clouds = [sections.series(pool[i], *rng.normal(5 * np.array([[np.cos(i)], [np.sin(i * 1.7)]]), 0.7, (2, 30)))
              for i in range(14)]
    fpr = np.linspace(0, 1, 60)
    columns = PUBLISHED['tangari-1']['columns']
    zoo = [[name, *(_share(v, 0.06, 0.33, 120, 120) for v in rng.uniform(0.4, 0.9, len(columns) - 1))]
           for name in ('Emb. 300', 'Emb. 500', 'Emb. 1000', 'Kennen')]
    lacking = sections.not_available('timm is not installed')
    return [
        sections.section(
            'table-3', 'Which network made this vector?', 'One embedding, one answer; the networks were trained further.',
            [sections.table('table-3', 'Accuracy by length, attacker\'s data and adaptation', ['Attacker\'s data', *LADDER],
                            table_3, note='Guessing has 25 %.', differs=WEIGHTS, published='tangari-3')],
            [sections.lines('ladder', 'Accuracy along the ladder, Same-PreProc., length 128', 'What depth buys is the gap.',
                            'adaptation of the target', 'accuracy', ladder, marks=[sections.mark(0.25, 'guessing, 25 %')]),
             sections.matrix('confusion', 'Who is taken for whom', '', _confusion(rng, 4, 0.8, 5), FAMILIES,
                             [*FAMILIES, 'none of these']),
             sections.lines('seen', 'Accuracy against vectors seen', '', 'vectors of one network', 'accuracy', [
                 sections.rates('', [1, 5, 10, 50], [_share(v) for v in (0.8, 0.9, 0.94, 1.0)])], log=True),
             sections.lines('unknown', '"None of these": ROC', 'Networks outside the pool against candidates.',
                            'candidates called unknown', 'unknown networks called so',
                            [sections.series('length 128', fpr, fpr ** 0.3),
                             sections.series('length 512', fpr, fpr ** 0.2, np.clip(fpr ** 0.2 - 0.1, 0, 1),
                                             np.clip(fpr ** 0.2 + 0.05, 0, 1))], diagonal=True)]),
        sections.section(
            'pool', 'A pool of many networks', '',
            [sections.table('table-4', 'Accuracy by length', ['Length', 'Classes', 'Accuracy', 'Chance'],
                            [['2048', 39, lacking, 0.026], ['1024', 24, _share(0.9, chance=1 / 24), 0.0417],
                             ['512', 31, _share(None, note='one image a network'), None],
                             ['128', 11, _share(0.95, chance=1 / 11), 0.09]],
                            differs='random weights, 200 pictures', published='tangari-4')],
            [sections.matrix('confusion-24', 'Length 1024: 24 candidates', 'One row asked nothing.', wrong, pool,
                             [*pool, 'none of these']),
             sections.scatter('tsne', 'Embeddings of 14 networks, t-SNE (Fig. 1)', 'Axes have no unit.', '', '', clouds)]),
        sections.section(
            'zoo', 'What kind of network was it?', 'Small networks trained on digits.',
            [sections.table('table-1', 'Accuracy by attribute', columns, zoo, unit='networks',
                            differs='scikit-learn\'s digits for MNIST, 120 networks for 5,000', published='tangari-1')],
            [sections.bars('families', 'Misclassified within a family', '', 'family', 'share misclassified', [
                sections.rates('same seed', ['ResNet', 'EfficientNet'], [_share(0.03, 0.02), _share(0.06, 0.03)]),
                sections.rates('other seed', ['ResNet', 'EfficientNet'],
                               [_share(0.4), Rate(None, (None, None), 0.5, 0, 0)])],
                           marks=[sections.mark(0.5, 'guessing between twins')])], fold=True)]


def _inversion_sections(rng):
    curve = np.linspace(0, 1, 120)[1:-1]
    edges = np.linspace(0, 2, 41)
    accepted = [[name, _share(v, chance=1 / 60), _share(min(1, v + 0.3), chance=0.01), _share(v / 2, chance=0.01)]
                for name, v in zip(LADDER, (0.6, 0.55, 0.5, 0.4, 0.3, 0.1), strict=True)]
    errors = [[name, _share(0.2 + 0.02 * i, 0.01, None), Rate(9.8 + i, (9.1 + i, 10.4 + i), None, 240, 60)]
              for i, name in enumerate(LADDER)]
    columns = PUBLISHED['tangari-5']['columns']
    names = ['Target model', 'Identification', 'Same image', 'Same subject']
    return [
        sections.section('chain', 'One chain', 'The network is inferred, then inverted, then the picture is tried.',
                         [sections.table('chain', 'End to end and with the network given', ['', 'End to end', 'Given'],
                                         [['Network named rightly', _share(0.86), 'given'],
                                          ['Accepted, another impression', _share(0.4, chance=0.0083), _share(0.44)]])]),
        sections.section(
            'errors', 'How close?', 'Medians over people.',
            [sections.table('table-5', 'Reconstruction errors by adaptation', [columns[0], *columns[3:]], errors,
                            differs=WEIGHTS, published='tangari-5')],
            [sections.steps('cdf', 'DSSIM by adaptation (Fig. 4)', 'Further left is closer.', 'DSSIM', 'share of pictures',
                            [sections.distribution(name, rng.beta(4 + i, 14, 300) / 2) for i, name in enumerate(LADDER)])]),
        sections.section(
            'impersonation', 'Does it get in?', 'Identification among the people, verification at FMR 1 %.',
            [sections.table('table-9', 'Impersonation along the ladder', ['Adaptation', *names[1:]],
                            [['Fingerprints, Same-PreProc.'], *accepted], differs=WEIGHTS, published='tangari-9'),
             sections.table('table-12', 'Targets outside the collection', names,
                            [['Same-PreProc.'], ['small-dense', *accepted[5][1:]],
                             ['dlib', *[sections.not_available('dlib reads faces only')] * 3]],
                            differs='no face networks', published='tangari-12'),
             sections.table('table-11', 'With N embeddings', ['Embeddings', *names[1::2]], [
                 row for data in ('Same-Ident.', 'Same-PreProc.', 'Diff-PreProc.') for row in (
                     [data], *([str(n), _share(0.3), _share(0.4)] for n in (1, 5, 10)))],
                            differs=WEIGHTS, published='tangari-11')],
            [sections.histogram('distances', 'Distances in the judge (Fig. 7)', '', 'Euclidean distance', 'share of pairs', [
                sections.counts(name, rng.normal(mean, 0.22, 400), edges)
                for name, mean in (('genuine', 0.7), ('reconstruction, own', 0.95), ('strangers', 1.3))],
                                marks=[sections.mark(0.8, 'threshold at FMR 1 %', 'x')]),
             sections.det('det', 'Detection error trade-off', 'Lower left is better.', [
                 sections.series('genuine', curve, np.clip((1 - curve ** 0.12), 0, 1)),
                 sections.series('reconstructions', curve, 1 - curve ** 0.5)], diagonal=True,
                          marks=[sections.mark(0.01, 'FMR 1 %', 'x')]),
             sections.lines('cmc', 'Rank-n identification', '', 'rank', 'identified at rank n or better', [
                 sections.series('reconstructions', np.arange(1, 61), 1 - 0.6 * np.exp(-np.arange(60) / 9)),
                 sections.series('genuine', np.arange(1, 61), 1 - 0.2 * np.exp(-np.arange(60) / 3))])]),
        sections.section('rebuilt', 'The pictures', 'Shown only where nobody is real, or where the owner asks.',
                         pictures='rec/')]


def _sectioned_controls(available):
    auc = {'placebo': 0.52, 'pictures_alone': 0.51, 'permuted_null': 0.5, 'rehearsal': 0.88, 'smallest_detectable': 0.58}
    found = {name: sections.control(_share(value, 0.05, 0.5), 'as it came out here', 1.0 if value < 0.6 else 0.002)
             for name, value in auc.items()}
    if not available:
        found['placebo'] = sections.not_available('the templates\' network cannot be asked')
    return sections.controls(**found)


def build_sectioned(study, seed=0, available=True, synthetic=True, subject_known=True):
    """Results of a made-up study of embeddings; `available=False` leaves the placebo out."""
    rng = np.random.default_rng(seed)
    kept = {key for key in COMMON if key not in ('primary', 'controls', 'epsilon')}
    results = {key: value for key, value in build(seed, available, synthetic, subject_known).items() if key in kept}
    results['data']['groups'] = {name: {'people': 40, 'identities': 80, 'images': 640}
                                 for name in ('public', 'adapt', 'attacker', 'judge', 'threshold', 'victims')}
    own = {'accuracy': _share(0.85)} if study == 'inference' else {'acceptance': sections.acceptance(
        _share(0.44, 0.09, None), _share(0.012, 0.006, 0.01), _share(0.43, 0.09, 0.0), _share(0.59, 0.08, None))}
    endpoint = {'inference': 'The network of one embedding, length 128, Same-PreProc., after FT-3',
                'inversion': 'A reconstruction against another impression in the judge, end to end'}[study]
    return results | {
        'title': 'Which network made this vector?' if study == 'inference' else 'Does the picture get in?', 'study': study,
        'config': {'seed': seed}, 'verdict': 'Found: as the summary says (AUC 0.86-0.94, 60 people)' if available else
        'Cannot say, because these controls are not available: placebo (AUC 0.86-0.94, 60 people).',
        'summary': ['From one stolen template an outsider gets in 44 % of the time (another picture of the same person, '
                    'unseen matcher); strangers 1 %, the person 59 %.'],
        'threat_models': [{'name': study, 'infers': 'what made an embedding', 'sees': 'one embedding', 'holds': 'networks',
                           'source': 'Tangari et al. 2023'}],
        'primary': sections.primary(endpoint, 'auxiliary classifier', _share(0.9, 0.04, 0.5), _share(0.6, 0.1, 0.01),
                                    _share(0.38, 0.06, 0.0), **own),
        'controls': _sectioned_controls(available),
        'sections': _inference_sections(rng) if study == 'inference' else _inversion_sections(rng)}


@pytest.fixture
def make_sectioned():
    """The builder of a study of embeddings: 'inference' or 'inversion' first."""
    return build_sectioned
