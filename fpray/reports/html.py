"""One self-contained report.html from a results.json: no network, light and dark, phone and paper."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from fpray.errors import UserError
from fpray.reports import codec_figures, drawing, figures, published, tables
from fpray.reports.words import WORDS, PictureGroup, Words

Results = Mapping[str, Any]
Rate = Mapping[str, Any]
Picture = bytes | str | Path

MAGIC = {b'\x89PNG': 'image/png', b'\xff\xd8\xff': 'image/jpeg'}
RESOLVABLE = re.compile(r'smallest FPR that is: ([\d.]+), TPR there (.+)')


def render(results: Results, images: Mapping[str, Picture] | None = None, show_images: bool = False) -> str:
    """The whole report as one HTML text, to be written as report.html.

    Args:
        results: as results.schema.json describes: what `write_results` returned or `load` read.
        images: PNG or JPEG bytes or paths by key, which starts with the prefix of one of the study's groups
            (`words.WORDS[study].pictures`), such as 'grid/victim/...', 'rd/...' or 'top/...'.
        show_images: the owner asked for pictures of people. Without it the groups that show people appear
            only where the data are synthetic.

    Raises:
        UserError: an image cannot be read or is neither PNG nor JPEG.
    """
    words = WORDS[results['study']]
    shown = _pictures(results, images or {}, words.pictures, bool(results['data']['synthetic']) or show_images)
    return _template('sections' if 'sections' in results else results['study']).render(
        r=results, people=drawing.people_words(results), css=drawing.THEME_CSS + drawing.FIGURE_CSS,
        published=published, words=words, contrasts=drawing.CONTRASTS,
        codec_of=partial(codec_figures.codec_of, results), figures=figures.all_figures(results),
        kind=_kind(results['verdict']), meaning=_meaning(results['verdict'], words), negatives=negatives(results),
        threats=_threats(results['threat_models']), fewest=codec_figures.FEWEST_VICTIMS, pictures=shown,
        contents=tables.contents(results), tables=tables, size_of=drawing.size_of,
        histograms=[f'histogram-{key.replace("/", "-")}' for key in results.get('histograms', ())],
        main_rows=[row for row in results.get('attacks', ()) if is_main(results, row)],
        other_rows=[row for row in results.get('attacks', ()) if not is_main(results, row)])


@cache
def _template(name: str) -> Any:
    """A compiled template with the filters that write numbers."""
    import jinja2

    page = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, 'templates'), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    page.filters.update(
        number=drawing.number, share=drawing.share, p=drawing.p_value, interval=drawing.interval,
        estimate=drawing.estimate, detail=drawing.detail, label=drawing.label, seconds=_seconds,
        lmbda=codec_figures.lambda_words, findings=_findings, reach=_reach,
        victim=jinja2.pass_context(lambda page, name: drawing.victim_words(page['r'], name)), candidate=_candidate,
        score=lambda value: '–' if value is None else f'{value:,.2f}',
        signed=lambda value: '–' if value is None else f'{value:+,.2f}',
        css=lambda words: re.sub(r'[^\w .,:;?!()%–-]', ' ', words),  # inside a style sheet's quotes
        pretty=lambda value: json.dumps(value, indent=1, ensure_ascii=False))
    return page.get_template(f'{name}.html')


def write_figures(results: Results, folder: str | Path) -> list[Path]:
    """Write every figure as an SVG file into a folder, which is made; gives the paths in report order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.all_figures(results).items():
        paths.append(folder / f'{re.sub(r"[^A-Za-z0-9._-]+", "-", name)}.svg')
        paths[-1].write_text(drawing.standalone(figure), encoding='utf-8')
    return paths


def is_main(results: Results, row: Mapping[str, Any]) -> bool:
    """Whether an attack's row speaks of the primary victim by the primary unit, as a mean: what a reader sees first."""
    primary = results['primary']
    return (row['victim'], row['unit']) == (primary['victim'], primary['unit']) and row['how'] in ('', 'mean')


def negatives(results: Results) -> list[dict[str, Any]]:
    """What was not found, not resolvable, not available or given up: kind, what, rate and text each.

    `more` marks what stands behind a fold: another victim, unit or aggregate than the primary endpoint's.

    An attack counts as not told from chance where its interval holds 0.5 or its max-T p is 0.05 or more.
    """
    if 'sections' in results:
        return tables.negatives(results)
    names = WORDS[results['study']].controls()
    return [
        *({'kind': 'Not told from chance', 'what': _attack_words(row, results), 'rate': row['auc'],
           'more': not is_main(results, row),
           'text': f'max-T {drawing.p_value(row["max_t_p"])}' if row['max_t_p'] is not None else ''}
          for row in results['attacks'] if not row['optimistic'] and _at_chance(row)),
        *_not_resolvable(results),
        *({'kind': 'Not available', 'what': names[key][0], 'rate': None, 'text': control['not_available']}
          for key, control in results['controls'].items() if 'not_available' in control),
        *(_codec_negatives(results) if results['study'] == 'codec' else _generator_negatives(results)),
    ]


def _generator_negatives(results: Results) -> list[dict[str, Any]]:
    """Shadows that never matched, and trials that were given up."""
    trials = results['search']['trials'] if results['search'] else []
    return [
        *({'kind': 'Never matched', 'rate': None,
           'what': f'{drawing.label(item["shadow"])} of {drawing.label(item["victim"])}',
           'text': f'its closest point, {item["stopped_at"]:,} images, was used'}
          for item in results['stopping'] if not item['reached']),
        *({'kind': f'Trial {trial["state"]}', 'what': f'search trial {trial["number"]}', 'rate': None,
           'text': ', '.join(f'{key} {value}' for key, value in trial['params'].items())}
          for trial in trials if trial['state'] != 'complete'),
    ]


def _codec_negatives(results: Results) -> list[dict[str, Any]]:
    """Gaps against the expected sign, defences that cannot be placed or judged, and fidelity that could not be had."""
    codec = results['codec']
    rows, fewest = codec['frontier']['rows'], codec_figures.FEWEST_VICTIMS
    fidelity = codec['fidelity'] or {'not_available': 'not part of this audit'}
    return [
        *({'kind': 'Members compressed worse', 'what': codec_figures.codec_of(results, row),
           'rate': row['sides']['loss']['gap'], 'text': 'mean loss of members minus non-members: the reversed sign'}
          for row in codec['lambdas'] if (row['sides']['loss']['gap']['estimate'] or 0) > 0),
        *({'kind': 'No words about the defence', 'what': drawing.label(row['defence']), 'rate': None,
           'text': f'{row["victims"]} of {fewest} victims: this run only'} for row in rows if row['victims'] < fewest),
        *({'kind': 'No utility at equal bpp', 'what': drawing.label(row['defence']), 'rate': None,
           'text': row['note'].removeprefix('this run').strip('; ')
           or 'its rates and the undefended codec\'s do not overlap'}
          for row in rows if row['psnr_difference'] is None and row['bd_rate'] is None),
        *([{'kind': 'Not available', 'what': 'Fingerprint fidelity', 'rate': None, 'text': fidelity['not_available']}]
          if 'not_available' in fidelity else []),
    ]


def _attack_words(row: Mapping[str, Any], results: Results) -> str:
    """'shadow, MIA, gan 40, by subject mean'."""
    victim = drawing.victim_words(results, row['victim'])
    parts = drawing.label(row['attack']), drawing.CONTRASTS[row['contrast']][0], victim
    return f'{", ".join(parts)}, by {row["unit"]} {row["how"]}'.rstrip()


def _at_chance(row: Mapping[str, Any]) -> bool:
    low = row['auc']['interval'][0]
    return low is None or low <= 0.5 or (row['max_t_p'] is not None and row['max_t_p'] >= 0.05)


def _not_resolvable(results: Results) -> list[dict[str, Any]]:
    """Rates that too few people can show, one entry a rate and reason, with how many attacks it speaks of.

    What a single row could show instead stands in that row.
    """
    counts: dict[tuple[str, str], int] = {}
    for row in results['attacks']:
        for key, words in (('tpr_at_fpr_1pct', 'TPR at 1 % FPR'), ('tpr_at_fpr_0_1pct', 'TPR at 0.1 % FPR'),
                           ('balanced_accuracy', 'Balanced accuracy')):
            if row[key]['estimate'] is None:
                reason = row[key]['note'].split(';')[0].removeprefix('not resolvable')
                counts[words, reason] = counts.get((words, reason), 0) + 1
    return [{'kind': 'Not resolvable', 'what': words, 'rate': None,
             'text': f'{count} of {len(results["attacks"])} rows{": " if note else ""}{note}'}
            for (words, note), count in counts.items()]


def _reach(rate: Rate) -> tuple[str, str] | None:
    """The smallest false-positive rate that a note calls resolvable, and the TPR there, as stored; None for other notes."""
    found = RESOLVABLE.search(rate['note']) if rate['estimate'] is None else None
    return (found[1].rstrip('0').rstrip('.') or '0', found[2]) if found else None


def _threats(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Threat models by source; attacks that infer, see and hold the same share a row."""
    groups: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for model in models:
        same = groups.setdefault(model['source'], {}).setdefault(tuple(model[k] for k in ('infers', 'sees', 'holds')), [])
        same.append(drawing.label(model['name']))
    return [{'source': source, 'rows': [{'names': ', '.join(names), 'infers': key[0], 'sees': key[1], 'holds': key[2]}
                                        for key, names in rows.items()]} for source, rows in groups.items()]


def _kind(verdict: str) -> str:
    return next(kind for kind in ('Found', 'Not found', 'Cannot say') if verdict.startswith(kind))


def _meaning(verdict: str, words: Words) -> tuple[str, str]:
    """What the verdict shows and does not show; a finding without a random draw gets its own words."""
    return words.unseparated if 'cannot separate' in verdict else words.meaning[_kind(verdict)]


def _findings(found: Mapping[str, Any], where: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Nested findings as (name, value) pairs in their order; a value is a rate, a reason, a number or words."""
    rows: list[tuple[str, Any]] = []
    for key, value in found.items():
        name = (*where, drawing.label(key))
        nested = isinstance(value, Mapping) and not {'estimate', 'not_available'} & value.keys()
        rows += _findings(value, name) if nested else [(' · '.join(name), value)]
    return rows


def _seconds(value: float) -> str:
    """Wall time as people say it: '12 s', '4 min 05 s', '2 h 10 min'."""
    whole = round(value)
    if whole < 60:
        return f'{value:.1f} s' if whole < 10 else f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def _candidate(row: Mapping[str, Any], number: int) -> str:
    """What a twin's candidate is called: by its number and recipe where it carries no name of its own."""
    return f'candidate {number}, {row["text"]}' if re.fullmatch(r'[\d-]+', row['name']) else drawing.label(row['name'])


def _caption(results: Results, key: str, group: PictureGroup) -> str:
    """What stands under a picture; under a row of copies, in which order they stand."""
    name = key.removeprefix(group.prefix).strip('/-')
    number = re.fullmatch(r'(?:rd-)?(\d+)', name) if group.prefix == 'rd' else None
    if not number:
        return drawing.label(name.replace('/', ' · ')) or group.heading
    own = [row for row in results['codec']['rate_distortion']['means'] if row['ssim'] is not None]
    order = [codec_figures.codec_of(results, row) for row in own]
    order = [words if i == 0 or ',' in words else words.removeprefix(f'λ{drawing.NB}') for i, words in enumerate(order)]
    return f'picture {int(number[1]) + 1}: original' + (f', then {", ".join(order)}' if order else '')


def _pictures(results: Results, images: Mapping[str, Picture], known: Sequence[PictureGroup],
              people_shown: bool) -> list[dict[str, Any]]:
    """Pictures in groups: the group's words, its place and (caption, data address) pairs; people's only if allowed."""
    groups: dict[tuple[PictureGroup, str], list[tuple[str, str]]] = {}
    for group in known:
        for key, picture in images.items():
            if key.startswith(group.prefix) and (people_shown or not group.people):
                place = group, tables.place(results, key, group.section)
                groups.setdefault(place, []).append((_caption(results, key, group), _data_address(key, picture)))
    return [{'of': group, 'place': place, 'shown': shown} for (group, place), shown in groups.items()]


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
