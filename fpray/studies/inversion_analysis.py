"""The numbers of an inversion: the endpoint that was fixed beforehand, its controls, the verdict, and every table beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fpray.attacks.threat import INFERENCE_THREATS, INVERSION_THREATS, THREATS
from fpray.data.imageset import ImageSet
from fpray.metrics.identification import detectable_rank_auc, permuted_rank_auc, rank_auc, rank_auc_difference
from fpray.metrics.membership import draws_variance, over_draws
from fpray.metrics.people import holm
from fpray.metrics.rate import Rate
from fpray.metrics.verdict import FEWEST, Words, decide
from fpray.store import Context
from fpray.studies import sections as page
from fpray.studies.groups import altered_references, copies_notice, described, group_notices, read_groups
from fpray.studies.inversion_comparisons import all_sections
from fpray.studies.inversion_config import END_TO_END, JUDGE, MEAN, NEAREST, PLACEBOS, REHEARSAL, TOLD
from fpray.studies.inversion_evidence import Evidence
from fpray.studies.inversion_tables import membership
from fpray.studies.membership import WARN_BELOW, as_json

HEADLINE = 'headline'
ENDPOINT = ('Of a reconstruction from one stolen template, made by an attacker who must first infer the network: the share '
            'of other people\'s pictures that it resembles less than another picture of its own person, in a matcher that '
            'the attacker never saw.')


def numbers(context: Context) -> None:
    """numbers.json: everything that the report of an inversion shows, but for how long it took and where it lies."""
    study = _Numbers(context)
    (context.out / 'numbers.json').write_text(json.dumps(study.results(), indent=1, allow_nan=False, default=as_json))


class _Numbers:
    """One inversion's endpoint, controls and words."""

    def __init__(self, context: Context) -> None:
        self.evidence = Evidence(context)
        self.config, self.seed, self.context = self.evidence.config, self.evidence.seed, context
        self.search, *placebos = (self.evidence.search(HEADLINE, name, JUDGE) for name in (END_TO_END, *PLACEBOS))
        self.placebos = [each for each in placebos if each is not None]

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        primary, controls = self.primary(), self.controls()
        self.context.progress(1, 3, 'tables')
        found = all_sections(self.evidence)
        return {
            'verdict': self.verdict(primary, controls), 'summary': self.summary(primary),
            'warnings': [*self.notices(), *self.warnings(controls)], 'data': self.data(),
            'threat_models': self.threats(), 'primary': primary, 'controls': controls, 'sections': found}

    # The endpoint and its controls

    def primary(self) -> dict[str, Any]:
        """The endpoint, end to end, in the judge."""
        assert self.search is not None, 'the judge is always asked'
        accepted, tar = self.evidence.accepted(HEADLINE, END_TO_END), self.evidence.tar(HEADLINE, END_TO_END, True)
        assert accepted is not None and tar is not None
        return page.primary(
            ENDPOINT, END_TO_END, rank_auc(self.search, self.seed), tar,
            over_draws([rank_auc_difference(self.search, each, self.seed) for each in self.placebos]),
            acceptance=page.acceptance(accepted['own'], accepted['strangers'], accepted['difference'],
                                       self.evidence.genuine(JUDGE)))

    def controls(self) -> dict[str, Any]:
        """What the same arithmetic gives where there is nothing to find, and where there is."""
        assert self.search is not None
        evidence = self.evidence
        mean = evidence.search(HEADLINE, MEAN, JUDGE)
        rehearsal = evidence.search(HEADLINE, REHEARSAL, JUDGE)
        assert mean is not None and rehearsal is not None
        each = [rank_auc(placebo, self.seed) for placebo in self.placebos]
        found = {'placebo': over_draws(each), 'pictures_alone': rank_auc(mean, self.seed)}
        p = dict(zip(found, holm([1.0 if rate.p is None else rate.p for rate in found.values()]), strict=True))
        return page.controls(
            placebo=page.control(
                found['placebo'], 'The same reconstructor, to which the same stolen templates are given with their numbers '
                f'in {len(each)} other orders and signs.', p['placebo']),
            pictures_alone=page.control(found['pictures_alone'], 'The mean of the attacker\'s pictures, one for everybody: '
                                        'no template at all.', p['pictures_alone']),
            permuted_null=page.control(permuted_rank_auc(self.search, self.seed), 'Each person\'s reconstructions taken for '
                                       'another person\'s, drawn at random.'),
            rehearsal=page.control(rank_auc(rehearsal, self.seed), 'The same attack, told the network, on the people who '
                                   'set the thresholds.'),
            smallest_detectable=page.control(
                detectable_rank_auc(self.search, self.seed, placebo=self.placebos, spread=draws_variance(each)),
                'What this attack would have shown in 4 of 5 such audits.'))

    # Words

    def verdict(self, primary: Mapping[str, Any], controls: Mapping[str, Any]) -> str:
        """One of three sentences, with its uncertainty."""
        auc = primary['auc']
        few = f'{auc.n_people} victims, fewer than {FEWEST}' if auc.n_people < FEWEST else ''
        return decide(auc, primary['minus_placebo'], controls['rehearsal']['auc'], controls['smallest_detectable']['auc'],
                      Words(found=self.claim(primary), few=few, rehearsal='in the rehearsal', audited='on the victims',
                            effect='likeness'), self.missing())

    def missing(self) -> list[str]:
        """Controls that mean nothing here."""
        victims = self.config['groups']
        return ['a rehearsal of 10 people or more'] if victims.threshold < FEWEST else []

    def claim(self, primary: Mapping[str, Any]) -> str:
        """What was found, in shares of attempts."""
        shares = {name: _share(rate) for name, rate in primary['acceptance'].items()}
        return (f'from one stolen template an outsider gets in {shares["own"]} of the time (another picture of the same '
                f'person, unseen matcher); strangers {shares["strangers"]}, the person {shares["genuine"]}')

    def summary(self, primary: Mapping[str, Any]) -> list[str]:
        """Three or four sentences for who signs."""
        evidence, accepted = self.evidence, primary['acceptance']
        right, unknown = evidence.guessed(self.rung)
        told = evidence.tar(HEADLINE, TOLD, True)
        chain = 'The attacker was told the network.' if self.config['told'] else (
            f'The attacker names the right network of {len(evidence.guesses["candidates"])} from one template in '
            f'{_share(right)} of cases ({_share(unknown)} look like none of them).')
        at = evidence.threshold(JUDGE)
        lines = [
            f'{self.claim(primary)[0].upper()}{self.claim(primary)[1:]}, at a false match rate of {100 * at.fmr:.1f} % that '
            f'other people set.', f'{chain} Given the right network, the judge lets in {_share(told)}.',
            f'Own minus strangers: {_share(accepted["difference"], signed=True)}; an interval over '
            f'{accepted["difference"].n_people} people speaks of this network under this attack. {self.baseline()}']
        if evidence.everyone.meta['synthetic']:
            lines.append('These are synthetic fingers: the numbers say nothing about real people.')
        return lines

    def baseline(self) -> str:
        """What gets in without any reconstructor: a claim about inversion must beat it."""
        nearest = self.evidence.accepted(HEADLINE, NEAREST)
        return '' if nearest is None else (
            f'The picture of the attacker\'s own people whose vector lies nearest to the stolen one gets in '
            f'{_share(nearest["own"])} of the time.')

    @property
    def rung(self) -> str:
        """The rung at which the headline stands; '' of a black box."""
        return next(rung for rung, key in self.config['places'].items() if key == self.evidence.system)

    def notices(self) -> list[str]:
        """What a reader must know about the data and the parts that were not to be had."""
        everyone, groups = self.evidence.everyone, self.evidence.groups
        found = group_notices(everyone, groups)
        if altered_references(everyone, groups):
            found.append('other impressions are altered versions of the template: an easier question than another touch')
        if missed := everyone.meta.get('faces_missed'):
            found.append(f'{missed} pictures in which no face was found: the central square stands for the face')
        if not self.evidence.threshold(JUDGE).resolvable:
            found.append('the people who set the thresholds are too few for FMR 1 % (30 false matches of 10 people)')
        few = len(groups.pictures('attacker'))
        if few < 1_000 and not self.config['unknown']:
            found.append(f'the attacker learns from {few} pictures only: more would invert better')
        folders = [path for name, path in self.context.inputs.items() if name.startswith('folder/')]
        if copies := sum(ImageSet.load(path).meta['copies'] for path in folders):
            found.append(copies_notice(copies))
        if self.config['kind'] in ('templates', 'callable') and self.evidence.tar(HEADLINE, END_TO_END) is None:
            found.append('the owner\'s network was not asked about reconstructions: only the judge is')
        return found

    def warnings(self, controls: Mapping[str, Any]) -> list[str]:
        """A control that should not have seen anything and did."""
        return [f'{text} resembles its own person in the judge (p {controls[name]["p_holm"]:.2g})' for name, text in
                (('placebo', 'the placebo\'s reconstruction'), ('pictures_alone', 'the mean picture'))
                if controls[name]['p_holm'] < WARN_BELOW and controls[name]['auc'].lower > 0.5]

    def threats(self) -> list[dict[str, str]]:
        """The adversaries of the attacks that ran."""
        names = ['reconstructor', 'mean', 'nearest', *(['adapter'] if 'pool' in self.config['arms'] else []),
                 *(['direct'] if (HEADLINE, 'direct optimisation') in self.evidence.arms else []),
                 *(['auto-encoder'] if 'baseline' in self.config['arms'] else [])]
        models = [*([] if self.config['told'] else [INFERENCE_THREATS['auxiliary']]), *(INVERSION_THREATS[n] for n in names),
                  *([THREATS['compact']] if membership(self.evidence) is not None else [])]
        return [{name: getattr(model, name) for name in ('name', 'infers', 'sees', 'holds', 'source')} for model in models]

    def data(self) -> dict[str, Any]:
        """The set and how its people are divided."""
        return described(self.evidence.everyone, read_groups(self.context.inputs['people']))


def _share(rate: Rate | None, signed: bool = False) -> str:
    """'17 % (10-25 %)'."""
    if rate is None or rate.estimate is None:
        return 'a share that cannot be given'
    sign = '+' if signed else ''
    text = f'{100 * rate.estimate:{sign}.1f}'.removesuffix('.0')
    if rate.interval[0] is None or rate.interval[1] is None:
        return f'{text} %'
    return f'{text} % ({100 * rate.interval[0]:.0f}-{100 * rate.interval[1]:.0f} %)'

