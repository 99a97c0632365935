"""report.html: whole, self-contained, honest."""

import re
from html.parser import HTMLParser

import pytest

from fpray.errors import UserError
from fpray.reports import html, results

PNG = b'\x89PNG\r\n\x1a\n' + bytes(8)
SECTIONS = ('meaning', 'threat', 'controls', 'table-5-1', 'table-4-1', 'sweep', 'curves', 'stopping',
            'search', 'pictures', 'patterns', 'not-found', 'rerun', 'glossary')
CODEC_SECTIONS = ('meaning', 'threat', 'controls', 'gaps', 'table-6-1', 'curves', 'rate-distortion', 'frontier', 'sweep',
                  'training', 'fidelity', 'pictures', 'not-found', 'rerun', 'glossary')
FETCHED = {'src', 'href', 'xlink:href', 'data', 'poster', 'srcset', 'action'}
VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}


class Page(HTMLParser):
    """Collects ids, addresses, section texts and rates; fails on a tag that is closed out of order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.sections, self.rates = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes['id']] if 'id' in attributes else []
        self.addresses += [v for k, v in attributes.items() if k in FETCHED]
        if tag == 'section':
            self.sections.append('')
        if attributes.get('class') == 'rate':
            self.rates.append('')
            self.open.append('rate')
        elif tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in FETCHED]

    def handle_endtag(self, tag):
        assert self.open.pop() in (tag, 'rate')

    def handle_data(self, text):
        if 'section' in self.open:
            self.sections[-1] += text
        if 'rate' in self.open:
            self.rates[-1] += text


@pytest.mark.parametrize('variant', [{}, {'available': False}, {'synthetic': False, 'subject_known': False}])
def test_the_report_is_whole_and_fetches_nothing(make_results, variant):
    text = html.render(results.plain(make_results(**variant)), {'grid/victim/gan_40': PNG})
    page = Page(text)
    assert {*SECTIONS, 'result'} <= set(page.ids) and len(page.ids) == len(set(page.ids))
    assert all(a.startswith(('#', 'data:image/')) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith('#')} <= set(page.ids)
    assert '://' not in text and '@import' not in text and 'url(' not in text and '<script' not in text
    assert 'prefers-color-scheme' in text and '@media print' in text and 'width=device-width' in text


def test_every_rate_shows_interval_chance_n_and_people(make_results):
    page = Page(html.render(results.plain(make_results())))
    assert len(page.rates) > 250
    for rate in page.rates:
        assert re.search(r'chance\s\S+ · n\s[\d,]+ · [\d,]+\speople', rate.replace('\xa0', ' '))
        assert '[' in rate or 'no\xa0interval' in rate or 'not available' in rate


def test_the_label_stands_on_every_section_and_the_head(make_results):
    text = html.render(results.plain(make_results()))
    page = Page(text)
    assert len(page.sections) == len(SECTIONS)
    assert all(section.count('synthetic stand-in') >= 2 for section in page.sections)
    assert text[:text.index('<section')].count('synthetic stand-in') >= 2
    assert '· synthetic stand-in</title>' in text
    real = html.render(results.plain(make_results(synthetic=False)))
    assert 'synthetic stand-in' not in real


@pytest.mark.parametrize(('verdict', 'shown', 'kept_out'), [
    ('Found: members (AUC 0.62-0.80, 80 people)', 'whose fingerprints', 'look exactly like this page'),
    ('Found: leak or capture difference; this audit cannot separate them (AUC 0.6-0.8, 80 people)',
     'tells the two folders apart', 'whose fingerprints'),
    ('Not found by these attacks; they would have shown AUC >= 0.63 in 4 of 5 such audits',
     'look exactly like this page', 'whose fingerprints'),
    ('Cannot say, because there is no placebo', 'no verdict is drawn', 'whose fingerprints')])
def test_the_words_follow_the_verdict(make_results, verdict, shown, kept_out):
    study = make_results()
    study['verdict'] = verdict
    text = ' '.join(html.render(results.plain(study)).split())
    assert shown in text and kept_out not in text
    heading = re.sub(r'<[^>]+>', '', re.search(r'<h1>(.*?)</h1>', text).group(1))
    assert heading.replace('&gt;', '>').startswith(verdict.split(':')[0].split(',')[0][:9])


def test_published_numbers_stand_beside_ours(make_results):
    text = html.render(results.plain(make_results())).replace('\xa0', ' ')
    words = re.sub(r'\s+', ' ', re.sub(r'<[^>]+>', '', text))
    assert '14/20' in words and '0.70 · binomial p = 0.058' in words and '1,639.20 ± 7.92' in words
    assert 'cannot exceed the number of classes' in words and '19/20' in words
    assert 'tells 5 classes apart (pattern type), so no score can exceed 5' in words


def test_negative_results_are_listed(make_results):
    study = results.plain(make_results(available=False))
    kinds = {row['kind'] for row in html.negatives(study)}
    assert kinds == {'Not told from chance', 'Not resolvable', 'Not available', 'Never matched',
                     'Trial pruned',
                     'Trial failed'}
    nearest = [r for r in html.negatives(study) if r['what'].startswith('nearest, MIA')]
    assert len(nearest) == 3 and all(r['rate'] for r in nearest)
    assert not [r for r in html.negatives(study) if r['what'].startswith('white box, MIA')]


def test_pictures_of_people_need_leave(make_results):
    images = {'grid/victim/gan_40': PNG, 'top/mia': PNG, 'grid/real': PNG}
    real, standin = results.plain(make_results(synthetic=False)), results.plain(make_results())
    assert html.render(real, images).count('data:image/png') == 1
    assert html.render(real, images, show_images=True).count('data:image/png') == 3
    assert html.render(standin, images).count('data:image/png') == 3


def test_pictures_come_from_paths_too_and_others_are_refused(make_results, tmp_path):
    (tmp_path / 'grid.png').write_bytes(PNG)
    study = results.plain(make_results())
    assert 'data:image/png;base64,iVBOR' in html.render(study, {'grid/victim/a': tmp_path / 'grid.png'})
    with pytest.raises(UserError, match='cannot read the picture'):
        html.render(study, {'grid/victim/a': tmp_path / 'gone.png'})
    with pytest.raises(UserError, match='neither PNG nor JPEG'):
        html.render(study, {'grid/victim/a': b'GIF89a'})


def test_words_of_the_user_cannot_break_the_page(make_results):
    study = make_results()
    study['data']['name'] = study['title'] = '<script>alert(1)</script>'
    study['data']['label'] = '"; } </style><script>alert(2)</script>'
    text = html.render(results.plain(study))
    assert '<script' not in text and text.count('</style>') == 1


def test_a_bare_audit_of_an_owners_generator_renders(make_results):
    bare = make_results(available=False)
    bare.update(search=None, pattern_shares=None, epsilon=None, stopping=[], sweep=[], victims=[], roc={},
                histograms={}, table_5_1=[], attacks=[], shadows={'aucs': [], 'spread': None})
    for control in ('pictures_alone', 'smallest_detectable'):
        bare['controls'][control] = {'not_available': 'too few people'}
    page = Page(html.render(results.plain(bare)))
    assert len(page.sections) == len(SECTIONS)


# The codec's report.

def _words(text):
    return re.sub(r'\s+', ' ', re.sub(r'<[^>]+>', ' ', text.replace('\xa0', ' ')))


@pytest.mark.parametrize('variant', [{}, {'available': False}, {'synthetic': False, 'subject_known': False}])
def test_the_codecs_report_is_whole_and_speaks_of_a_codec(make_codec_results, variant):
    text = html.render(results.plain(make_codec_results(**variant)), {'grid/twin': PNG})
    page = Page(text)
    assert {*CODEC_SECTIONS, 'result'} == set(page.ids) and len(page.ids) == len(set(page.ids))
    assert all(a.startswith(('#', 'data:image/')) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith('#')} == set(page.ids)
    assert '://' not in text and '@import' not in text and 'url(' not in text and '<script' not in text
    assert not re.search(r'(this|the|no|audited) generator\b|Inception', _words(text), re.IGNORECASE)


def test_the_generators_report_does_not_speak_of_codecs(make_results):
    assert 'codec' not in html.render(results.plain(make_results())).lower()


@pytest.mark.parametrize('verdict', ['Found: a leak (AUC 0.6-0.8, 80 people)',
                                     'Found: leak or capture difference; this audit cannot separate them (AUC 0.6-0.8)',
                                     'Not found by these attacks', 'Cannot say, because there is no placebo'])
def test_no_verdict_on_a_codec_names_a_generator(make_codec_results, verdict):
    study = make_codec_results()
    study['verdict'] = verdict
    text = html.render(results.plain(study))
    meaning = text[text.index('id="meaning"'):text.index('id="controls"')]
    assert 'generator' not in meaning and len(_words(meaning)) > 300


def test_every_rate_of_a_codec_shows_its_company_and_every_section_its_label(make_codec_results):
    page = Page(html.render(results.plain(make_codec_results())))
    assert len(page.rates) > 250 and len(page.sections) == len(CODEC_SECTIONS)
    for rate in page.rates:
        assert re.search(r'chance\s\S+ · n\s[\d,]+ · [\d,]+\speople', rate.replace('\xa0', ' '))
    assert all(section.count('synthetic stand-in') >= 2 for section in page.sections)
    real = html.render(results.plain(make_codec_results(synthetic=False)))
    assert real.count('synthetic stand-in') == 0


def test_table_6_1_stands_beside_ours(make_codec_results):
    words = _words(html.render(results.plain(make_codec_results())))
    for cells in ('17 / 20', '164 / 200', '1,203 / 2,000', '14 / 20', '142 / 200', '1,122 / 2,000', '16 / 20',
                  '147 / 200', '1,163 / 2,000'):
        assert cells in words
    assert 'Cavasin 2023, Table 6.1' in words and '0.85 · binomial p = 0.0013' in words


def test_defences_of_few_victims_speak_of_this_run_and_promise_only_what_they_have(make_codec_results):
    text = html.render(results.plain(make_codec_results()))
    table = text[text.index('The same audit after each defence'):text.index('How the twin was chosen')]
    rows = {row.split('<')[0].strip(): row for row in table.split('<th scope="row">')[1:]}
    assert {name: 'this run' in row for name, row in rows.items()} == {
        'none': False, 'twin': False, 'stand-in': True, 'early-stop': True, 'regularised': True, 'dp-sgd': True}
    assert 'ε = 8' in rows['dp-sgd'] and not any('ε' in row for name, row in rows.items() if name != 'dp-sgd')
    assert 'gan 40' in _words(text[text.index('How the twin was chosen'):])


def test_a_codecs_negative_results_are_listed(make_codec_results):
    rows = html.negatives(results.plain(make_codec_results(available=False)))
    by_kind = {row['kind']: [r['what'] for r in rows if r['kind'] == row['kind']] for row in rows}
    assert by_kind['Members compressed worse'] == ['λ\xa00.0003']
    assert by_kind['No words about the defence'] == ['stand-in', 'early-stop', 'regularised', 'dp-sgd']
    assert by_kind['No utility at equal bpp'] == ['dp-sgd']
    assert by_kind['Not available'] == ['Placebo victim', 'Rehearsal victim', 'Fingerprint fidelity']


def test_fidelity_says_what_it_has_or_why_not(make_codec_results):
    words = _words(html.render(results.plain(make_codec_results())))
    for finding in ('Precision 0.81 [0.76, 0.86]', 'Pores not available pores need 1000 dpi', 'Paired yes'):
        assert finding in words
    words = _words(html.render(results.plain(make_codec_results(available=False))))
    assert 'Not available: needs pyfing' in words
    study = make_codec_results()
    study['codec'].update(fidelity=None, bitstream=None)
    assert 'No files were written' in _words(html.render(results.plain(study)))


def test_the_same_picture_at_each_lambda_is_a_persons(make_codec_results):
    images = {'rd/1': PNG, 'top/mia': PNG, 'grid/twin': PNG, 'grid/victim/x': PNG}
    real = results.plain(make_codec_results(synthetic=False))
    assert html.render(real, images).count('data:image/png') == 1  # the twin's samples
    assert html.render(real, images, show_images=True).count('data:image/png') == 3
    assert html.render(results.plain(make_codec_results()), images).count('data:image/png') == 3


def test_a_bare_audit_of_an_owners_codec_renders(make_codec_results):
    bare = make_codec_results(available=False)
    bare.update(roc={}, histograms={}, table_6_1=[], attacks=[], epsilon=None)
    bare['codec'].update(parameters=None, lambdas=[], codecs=[], frontier={'rows': [], 'choice': None}, fidelity=None,
                         bitstream=None, rate_distortion={'points': [], 'means': [], 'classical': [],
                                                          'fit': {'psnr': None, 'mse': None}})
    assert results.faults(results.plain(bare)) == []
    assert len(Page(html.render(results.plain(bare))).sections) == len(CODEC_SECTIONS)


def test_a_codecs_sections_stand_in_the_order_of_its_contents(make_codec_results):
    text = html.render(results.plain(make_codec_results()))
    contents = re.findall(r'<li><a href="#([\w-]+)">', text)
    assert re.findall(r'<h2 id="([\w-]+)"', text) == [key for key in contents if key != 'result']
    assert [key for key in contents if key in ('controls', 'gaps', 'rate-distortion', 'frontier', 'curves', 'threat')] == [
        'controls', 'gaps', 'rate-distortion', 'frontier', 'curves', 'threat']


def test_other_units_and_victims_are_folded_and_counted_apart(make_codec_results):
    study = results.plain(make_codec_results())
    primary = study['primary']
    own = next(row for row in study['attacks'] if row['attack'] == 'rate' and row['contrast'] == 'iia'
               and row['unit'] == primary['unit'])
    own['auc'].update(estimate=0.5, interval=[0.4, 0.6])
    study['attacks'] += [own | {'victim': 'placebo'}, own | {'how': 'max'}]
    text = html.render(study)
    assert '<details' in text and '<details open' not in text
    rows = [row for row in html.negatives(study) if row['kind'] == 'Not told from chance']
    folded = [row for row in rows if row['more']]
    assert 0 < len(folded) < len(rows)
    assert f'Not told from chance: {len(rows) - len(folded)}, and {len(folded)} folded below' in text
    kept = re.sub(r'<details>.*?</details>', '', text, flags=re.DOTALL)
    assert 'Attacks on the other victims' in text and 'Attacks on the other victims' not in kept
    assert all(row['what'] in text for row in folded) and 'placebo, by' not in kept


def test_a_defences_codec_names_its_lambda_only_where_defences_differ(make_codec_results):
    study = results.plain(make_codec_results())
    study['attacks'].append(study['attacks'][0] | {'victim': 'twin-0.01'})
    assert 'twin, by' in html.render(study)
    study['codec']['frontier']['rows'].append(study['codec']['frontier']['rows'][1] | {'lmbda': 0.003})
    assert 'twin, λ\xa00.01, by' in html.render(study)


def test_copies_are_named_in_their_order_and_candidates_by_number(make_codec_results):
    study = results.plain(make_codec_results())
    study['codec']['frontier']['choice'] = {'chosen': '0-1', 'candidates': [
        row | {'name': f'0-{i}', 'text': f'dropout {value}'}
        for i, (row, value) in enumerate(zip(study['codec']['frontier']['choice']['candidates'], (0, 0.4), strict=False))]}
    text = html.render(study, {'rd/rd-0': PNG}).replace('\xa0', ' ')
    assert 'picture 1: original, then λ 0.01, 0.003, 0.001, 0.0003 (' in text and 'rd-0' not in text
    assert 'was taken: <b>candidate 2, dropout 0.4</b>' in text and 'candidate 1, dropout 0<' in text


def test_a_defence_is_measured_against_the_yardstick_and_its_run_is_named_once(make_codec_results):
    study = results.plain(make_codec_results())
    for row in study['codec']['frontier']['rows']:
        row.update(victims=1, note='this run')
    text = html.render(study)
    table = text[text.index('The same audit after each defence'):text.index('How the twin was chosen')]
    assert 'the yardstick' in table and '+0.00' not in table
    assert table.count('this run') == len(study['codec']['frontier']['rows'])


def test_what_the_twin_makes_has_its_own_heading(make_codec_results):
    study = make_codec_results()
    study['codec']['fidelity']['twin_samples'] = {'paired': False, 'minutiae': {'wasserstein': 0.3}}
    words = _words(html.render(results.plain(study)))
    assert 'What the twin makes Paired no' in words and 'Twin samples' not in words


def test_two_families_are_kept_apart_in_tables(make_codec_results, two_families):
    words = _words(html.render(results.plain(two_families(make_codec_results()))))
    for heading in ('Means over pictures at each λ', 'Mean loss, rate and distortion of both sides'):
        assert 'λ 0.01, scale' in words[words.index(heading):][:6000]


# Studies whose tables and plots come as sections.

OWN = {'inference': ['part-table-3', 'part-pool', 'part-zoo'],
       'inversion': ['part-chain', 'part-errors', 'part-impersonation', 'part-rebuilt']}
AROUND = ['meaning', 'endpoint', 'threat', 'controls', 'pictures', 'not-found', 'rerun', 'glossary']


def _open(text):
    """The page without what stands behind a closed fold."""
    return re.sub(r'<details>.*?</details>', '', text, flags=re.DOTALL)


@pytest.mark.parametrize('study', ['inference', 'inversion'])
@pytest.mark.parametrize('variant', [{}, {'available': False}, {'synthetic': False, 'subject_known': False}])
def test_a_report_of_sections_is_whole_and_fetches_nothing(make_sectioned, study, variant):
    text = html.render(results.plain(make_sectioned(study, **variant)), {'grid/people': PNG})
    page = Page(text)
    assert {*AROUND, *OWN[study], 'result'} == set(page.ids) and len(page.ids) == len(set(page.ids))
    assert all(a.startswith(('#', 'data:image/')) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith('#')} == set(page.ids)
    assert '://' not in text and '@import' not in text and 'url(' not in text and '<script' not in text
    assert not re.search(r'\b(generator|codec|membership|members)\b', _words(text), re.IGNORECASE)
    contents = re.findall(r'<li><a href="#([\w-]+)">', text)
    assert re.findall(r'<h2 id="([\w-]+)"', text) == [key for key in contents if key != 'result']


@pytest.mark.parametrize('study', ['inference', 'inversion'])
def test_every_rate_of_a_section_shows_its_company_and_every_section_its_label(make_sectioned, study):
    page = Page(html.render(results.plain(make_sectioned(study))))
    assert len(page.rates) > 50
    for rate in page.rates:
        assert re.search(r'chance\s\S+ · n\s[\d,]+ · [\d,]+\s(people|networks)', rate.replace('\xa0', ' '))
        assert '[' in rate or 'no\xa0interval' in rate or 'not available' in rate
    assert all(section.count('synthetic stand-in') >= 2 for section in page.sections)
    assert html.render(results.plain(make_sectioned(study, synthetic=False))).count('synthetic stand-in') == 0


def test_networks_are_not_called_people(make_sectioned):
    page = Page(html.render(results.plain(make_sectioned('inference'))))
    assert sum('120 networks' in rate.replace('\xa0', ' ') for rate in page.rates) == 32


def test_published_figures_stand_beside_ours_and_what_differs_in_a_column(make_sectioned):
    text = html.render(results.plain(make_sectioned('inference')))
    words = _words(text)
    assert '0.93 [0.88, 0.98] chance 0.25 · n 240 · 60 people source 97.32 %' in words
    table = text[text.index('<caption><span>Accuracy by length, attacker'):]
    table = table[:table.index('</table>')]
    assert table.count('What differs from the source') == 1 and table.count('class="differs"') == 1
    assert f'rowspan="{table.count("<tr") - 1}"' in table and 'synthetic fingers of 64 px for PolyU' in table
    assert '69,32 %' in words and 'Published: Tangari et al. 2023, Table 3' in words


def test_a_published_table_is_open_only_where_none_of_its_figures_stands_beside_ours(make_sectioned):
    text = html.render(results.plain(make_sectioned('inversion')))
    shut = {int(n) for n in re.findall(r'<details><summary>Published: Tangari et al. 2023, Table (\d+)', text)}
    wide = {int(n) for n in re.findall(r'<details open><summary>Published: Tangari et al. 2023, Table (\d+)', text)}
    assert (shut, wide) == ({5, 9, 11}, {12})
    assert 'source not available' in _words(text)  # Table 9's body


def test_cells_of_every_kind_are_written(make_sectioned):
    words = _words(html.render(results.plain(make_sectioned('inference'))))
    assert 'not available timm is not installed source 97.62%' in words  # a reason
    assert 'not available chance 0.25 · n 240 · 60 people one image a network source 96.04%' in words  # no estimate
    assert '512 31 source 31' in words and '– source 3.2%' in words and '0.0417 source 4.2%' in words  # count, nothing


def test_a_fold_keeps_its_section_closed_and_counts_what_it_holds(make_sectioned):
    text = html.render(results.plain(make_sectioned('inference')))
    assert '1 table, 1 figure' in text and 'Accuracy by attribute' in text
    assert 'Misclassified within a family' not in _open(text) and 'Accuracy along the ladder' in _open(text)
    assert 'Small networks trained on digits.' in _open(text)  # a reader must know what the fold holds


def test_large_matrices_scroll_in_their_own_box(make_sectioned):
    text = html.render(results.plain(make_sectioned('inference')))
    boxes = re.findall(r'<figure class="broad"><div class="box"[^>]*><div style="width:(\d+)px">', text)
    assert len(boxes) == 1 and 700 < int(boxes[0]) < 1000
    for table in re.findall(r'.{200}<table', text, flags=re.DOTALL):
        assert 'class="scroll"' in table


def test_reconstructions_need_leave_and_stand_in_their_section(make_sectioned):
    images = {'rec/rungs': PNG, 'rec/conditions': PNG, 'grid/people': PNG}
    real, standin = (results.plain(make_sectioned('inversion', synthetic=synthetic)) for synthetic in (False, True))
    assert html.render(real, images).count('data:image/png') == 0
    assert html.render(real, images, show_images=True).count('data:image/png') == 3
    text = html.render(standin, images)
    own = text[text.index('id="part-rebuilt"'):text.index('id="pictures"')]
    assert own.count('data:image/png') == 2 and 'rungs' in own and text.count('data:image/png') == 3


@pytest.mark.parametrize(('study', 'verdict', 'shown'), [
    ('inference', 'Found: x', 'which of the candidate networks that was'),
    ('inference', 'Not found by these attacks', 'From one embedding these classifiers did not tell'),
    ('inversion', 'Found: x', 'that a matcher which the attack never saw takes for this person'),
    ('inversion', 'Not found by these attacks', 'did not resemble their people'),
    ('inversion', 'Cannot say, because there is no placebo', 'neither good nor bad news about the templates')])
def test_the_words_follow_the_verdict_of_a_study_of_embeddings(make_sectioned, study, verdict, shown):
    text = html.render(results.plain(make_sectioned(study) | {'verdict': verdict}))
    meaning = _words(text[text.index('id="meaning"'):text.index('id="endpoint"')])
    assert shown in meaning and 'finger' not in meaning


def test_the_verdict_in_words_keeps_its_percents_together(make_sectioned):
    text = html.render(results.plain(make_sectioned('inversion')))
    head = text[text.index('id="result"'):text.index('<section')]
    assert 'an outsider gets in 44\xa0% of the time' in head and 'strangers 1\xa0%, the person 59\xa0%' in head


def test_words_of_a_study_cannot_break_the_page(make_sectioned):
    study = make_sectioned('inference')
    bad = '</table><script>alert(1)</script>'
    study['sections'][0]['tables'][0]['rows'][1][0] = study['sections'][0]['tables'][0]['differs'] = bad
    study['sections'][0]['title'] = study['sections'][0]['plots'][0]['text'] = study['primary']['endpoint'] = bad
    text = html.render(results.plain(study))
    assert '<script' not in text
    Page(text)


def test_a_study_without_sections_renders(make_sectioned):
    bare = make_sectioned('inversion', available=False) | {'sections': []}
    assert results.faults(results.plain(bare)) == []
    assert len(Page(html.render(results.plain(bare))).sections) == len(AROUND)


def test_lacking_cells_fold_away_by_kind(make_sectioned):
    study = results.plain(make_sectioned('inference'))
    text = html.render(study)
    part = text[text.index('id="not-found"'):text.index('id="rerun"')]
    assert 'Not available: 0, and 1 folded below' in part and 'timm is not installed' not in _open(part)
    assert 'timm is not installed' in part and 'one image a network' in part
