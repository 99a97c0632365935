"""One self-contained report.html from a results.json: no network, light and dark, phone and paper."""

import base64
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fpray.errors import UserError
from fpray.reports import figures, published

Results = Mapping[str, Any]
Picture = bytes | str | Path

MAGIC = {b'\x89PNG': 'image/png', b'\xff\xd8\xff': 'image/jpeg'}
PICTURE_GROUPS = (  # prefix of an image's key, heading, what is seen
    ('grid/real', 'What the victims learned from',
     'Pictures of the set itself.'),
    ('grid/victim', 'What the victims make',
     'Samples of each victim: all that the attack sees of it.'),
    ('grid/shadow', 'What the shadows make',
     "Samples of the attacker's own generators at their stopping points."),
    ('top', 'Highest-scored queries',
     'The query pictures that the attack holds to be members, best first; those that are members are '
     'marked (the shape of Fig. 5.2 in Cavasin 2023).'),
)
PEOPLE_PICTURES = ('grid/real', 'top')
MEANING = {  # verdict: (what was shown, what was not)
    'Found': (
        'Someone who only asks this generator for samples can tell, better than by guessing, whose '
        'fingerprints it was trained on. The interval of the attack lies above chance, and so does its '
        'lead over a placebo: the same attack on a generator that never saw these people.',
        'It does not follow that each person can be picked out. An AUC is the chance that a person trained '
        'on ranks above one who was not; the rates at few false alarms, below, say how many single people '
        'stand out.'),
    'Not found': (
        'These attacks did not tell the people trained on from others in a way that chance, or a placebo, '
        'could not have done. The positive control shows that the attack works where there is something to '
        'find.',
        'It does not follow that nothing leaks. A leak smaller than the smallest detectable one, or one '
        'that another attack would see, would look exactly like this page.'),
    'Cannot say': (
        'The numbers are shown, and no verdict is drawn from them: something that a verdict needs is '
        'missing or did not work. The verdict above says what.',
        'An unsettled audit is neither good nor bad news about the generator. The controls below show what '
        'is needed before the question can be answered.'),
}
UNSEPARATED = (
    'The attack tells the two folders apart. Whether that is because one of them was trained on, or '
    'because the two were captured or prepared differently, this audit cannot say: it did not draw who is '
    'a member.',
    'It does not follow that the generator leaks. Only a random draw of members by person, made before '
    'training, could separate the two.')
GLOSSARY = (
    ('AUC',
     'The chance that a member ranks above a non-member. 0.5 is guessing, 1 is perfect.'),
    ('Balanced accuracy',
     'The mean share of members and of non-members called rightly at a threshold set beforehand, here on '
     'the rehearsal victim.'),
    ('Black box',
     'The attack sees samples of the generator and nothing else of it.'),
    ('Chance',
     'What guessing would give; stands beside every rate.'),
    ('Epsilon, log-odds',
     "Epsilon bounds what anyone can learn about one person's inclusion. It is claimed only where "
     'inclusion was a coin toss per person; elsewhere the same arithmetic is called log-odds.'),
    ('Fréchet distance',
     'How far two sets of pictures lie apart in the features of a network. Smaller is closer.'),
    ('IIA',
     'Identity inference: unseen impressions of people trained on, against people never seen.'),
    ('Impression, identity, subject',
     'One picture; one finger; one person.'),
    ('Inception Score',
     'How sure and how varied a classifier is about a set of pictures. Used to match a shadow to the '
     "victim, not as a mark of quality; it cannot exceed the classifier's number of classes."),
    ('Interval',
     '95 %, over people: fingers of one person are alike, so people and not pictures are counted.'),
    ('Max-T',
     'A permutation p that pays for having tried many attacks.'),
    ('Member',
     'A picture, finger or person that was in the training set, drawn at random before training.'),
    ('Memorisation',
     'Trained impressions against unseen impressions of the same fingers.'),
    ('MIA',
     'Membership inference: pictures trained on, against pictures of people never seen.'),
    ('n',
     'Pictures behind a number; the number of people stands beside it.'),
    ('Permuted people',
     'Members and non-members are relabelled at random, person by person: checks the arithmetic.'),
    ('Pictures alone',
     'Telling the two sides apart with no generator at all. If that works, the sides differ as pictures.'),
    ('Placebo victim',
     'The same recipe trained on as many other people. What the attack "finds" there is no leak.'),
    ('Precision and recall',
     'Share of samples that look like real pictures; share of real pictures that samples cover.'),
    ('Rehearsal victim',
     "A victim trained on the attacker's own people. The attack must find that leak, or it cannot be "
     'trusted to find any.'),
    ('Resolvable',
     'A false-positive rate needs at least 5 false positives from 5 people; rarer ones are not printed.'),
    ('Shadow',
     "The attacker's own generator and discriminator, trained on samples of the victim until it matches "
     'it.'),
    ('Smallest detectable leak',
     'The AUC that this attack would have shown in 4 of 5 such audits.'),
    ('TPR at 1 % FPR',
     'Share of members found when one non-member in a hundred is flagged wrongly.'),
    ('Victim',
     'The audited generator.'),
)


def render(results: Results, images: Mapping[str, Picture] | None = None, show_images: bool = False) -> str:
    """The whole report as one HTML text, to be written as report.html.

    Args:
        results: as results.schema.json describes: what `write_results` returned or `load` read.
        images: PNG or JPEG bytes or paths by key: 'grid/victim/...', 'grid/shadow/...', 'grid/real...' and
            'top/...'.
        show_images: the owner asked for pictures of people. Without it 'grid/real...' and 'top/...' appear
            only where the data are synthetic.

    Raises:
        UserError: an image cannot be read or is neither PNG nor JPEG.
    """
    return _template().render(
        r=results, people=figures.people_words(results), css=figures.THEME_CSS + figures.FIGURE_CSS,
        published=published, glossary=GLOSSARY, contrasts=figures.CONTRASTS, expected=EXPECTED,
        figures=figures.all_figures(results), kind=_kind(results['verdict']),
        meaning=_meaning(results['verdict']), negatives=negatives(results),
        pictures=_pictures(images or {}, bool(results['data']['synthetic']) or show_images))


@cache
def _template() -> Any:
    """The compiled template.html with the filters that write numbers."""
    import jinja2

    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    page.filters.update(
        number=figures.number, share=figures.share, p=figures.p_value, interval=figures.interval,
        estimate=figures.estimate, detail=figures.detail, label=figures.label, seconds=_seconds,
        score=lambda value: '–' if value is None else f'{value:,.2f}',
        css=lambda words: re.sub(r'[^\w .,:;?!()%–-]', ' ', words),  # inside a style sheet's quotes
        pretty=lambda value: json.dumps(value, indent=1, ensure_ascii=False))
    return page.from_string((resources.files(__package__) / 'template.html').read_text(encoding='utf-8'))


def write_figures(results: Results, folder: str | Path) -> list[Path]:
    """Write every figure as an SVG file into a folder, which is made; gives the paths in report order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.all_figures(results).items():
        paths.append(folder / f'{re.sub(r"[^A-Za-z0-9._-]+", "-", name)}.svg')
        paths[-1].write_text(figures.standalone(figure), encoding='utf-8')
    return paths


EXPECTED = {  # control: (name, what it is, where it should lie)
    'placebo': ('Placebo victim', 'Same recipe, as many other people, same attack.', 'at chance'),
    'pictures_alone': ('Pictures alone', 'Members against non-members with no generator at hand.',
                       'at chance'),
    'permuted_null': ('Permuted people', 'Membership relabelled at random, person by person.', 'at chance'),
    'rehearsal': ('Rehearsal victim', 'Positive control: a leak the attack must find.', 'above chance'),
    'smallest_detectable': ('Smallest detectable leak',
                            'What this attack would have shown in 4 of 5 such audits.', ''),
}


def negatives(results: Results) -> list[dict[str, Any]]:
    """What was not found, not resolvable, not available or given up: kind, what, rate and text each.

    An attack counts as not told from chance where its interval holds 0.5 or its max-T p is 0.05 or more.
    """
    trials = results['search']['trials'] if results['search'] else []
    return [
        *({'kind': 'Not told from chance', 'what': _attack_words(row), 'rate': row['auc'],
           'text': f'max-T {figures.p_value(row["max_t_p"])}' if row['max_t_p'] is not None else ''}
          for row in results['attacks'] if not row['optimistic'] and _at_chance(row)),
        *_not_resolvable(results),
        *({'kind': 'Not available', 'what': EXPECTED[key][0], 'rate': None, 'text': control['not_available']}
          for key, control in results['controls'].items() if 'not_available' in control),
        *({'kind': 'Never matched', 'rate': None,
           'what': f'{figures.label(item["shadow"])} of {figures.label(item["victim"])}',
           'text': f'its closest point, {item["stopped_at"]:,} images, was used'}
          for item in results['stopping'] if not item['reached']),
        *({'kind': f'Trial {trial["state"]}', 'what': f'search trial {trial["number"]}', 'rate': None,
           'text': ', '.join(f'{key} {value}' for key, value in trial['params'].items())}
          for trial in trials if trial['state'] != 'complete'),
    ]


def _attack_words(row: Mapping[str, Any]) -> str:
    """'shadow, MIA, gan 40, by subject mean'."""
    parts = figures.label(row['attack']), figures.CONTRASTS[row['contrast']][0], figures.label(row['victim'])
    return f'{", ".join(parts)}, by {row["unit"]} {row["how"]}'.rstrip()


def _at_chance(row: Mapping[str, Any]) -> bool:
    low = row['auc']['interval'][0]
    return low is None or low <= 0.5 or (row['max_t_p'] is not None and row['max_t_p'] >= 0.05)


def _not_resolvable(results: Results) -> list[dict[str, Any]]:
    """Rates that too few people can show, one entry a rate and reason, with how many attacks it speaks of."""
    counts: dict[tuple[str, str], int] = {}
    for row in results['attacks']:
        for key, words in (('tpr_at_fpr_1pct', 'TPR at 1 % FPR'), ('tpr_at_fpr_0_1pct', 'TPR at 0.1 % FPR'),
                           ('balanced_accuracy', 'Balanced accuracy')):
            if row[key]['estimate'] is None:
                counts[words, row[key]['note']] = counts.get((words, row[key]['note']), 0) + 1
    return [{'kind': 'Not resolvable', 'what': words, 'rate': None,
             'text': f'{count} of {len(results["attacks"])} rows{": " if note else ""}{note}'}
            for (words, note), count in counts.items()]


def _kind(verdict: str) -> str:
    return next(kind for kind in MEANING if verdict.startswith(kind))


def _meaning(verdict: str) -> tuple[str, str]:
    """What the verdict shows and does not show; a finding without a random draw gets its own words."""
    return UNSEPARATED if 'cannot separate' in verdict else MEANING[_kind(verdict)]


def _seconds(value: float) -> str:
    """Wall time as people say it: '12 s', '4 min 05 s', '2 h 10 min'."""
    whole = round(value)
    if whole < 60:
        return f'{value:.1f} s' if whole < 10 else f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def _pictures(images: Mapping[str, Picture], people_shown: bool) -> list[dict[str, Any]]:
    """Pictures in groups: heading, text, (caption, data address) pairs; people's only if allowed."""
    groups = []
    for prefix, heading, text in PICTURE_GROUPS:
        shown = [(figures.label(key.removeprefix(prefix).strip('/-').replace('/', ' · ')) or heading,
                  _data_address(key, picture))
                 for key, picture in images.items()
                 if key.startswith(prefix) and (people_shown or not key.startswith(PEOPLE_PICTURES))]
        if shown:
            groups.append({'heading': heading, 'text': text, 'shown': shown})
    return groups


def _data_address(key: str, picture: Picture) -> str:
    """The picture as a data: address, so that the page fetches nothing."""
    try:
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    except OSError as error:
        raise UserError(f'cannot read the picture {key} for the report: {error.strerror}') from None
    kind = next((mime for magic, mime in MAGIC.items() if content.startswith(magic)), None)
    if kind is None:
        raise UserError(f'the picture {key} for the report is neither PNG nor JPEG')
    return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'
