"""The table of comparisons on the command line: numbers that count, one line and exit 2 for every fault."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fpray.metrics.verification import threshold_at_fmr
from fpray.metrics.verification_cli import main


def table(people=12, pictures=3, condition='judged', seed=0, prefix=''):
    rng = np.random.default_rng(seed)
    person = np.repeat([f'{prefix}{p}' for p in range(people)], pictures)
    i, j = np.triu_indices(len(person), 1)
    genuine = person[i] == person[j]
    return pd.DataFrame({
        'probe': i, 'reference': j, 'probe_subject': person[i], 'reference_subject': person[j],
        'similarity': rng.normal(size=len(i)) + 2 * genuine, 'genuine': genuine, 'attack': 'none', 'condition': condition,
    })  # fmt: skip


@pytest.fixture
def run(tmp_path, capsys):
    """Write a table, call the tool: (exit code, printed, complained, numbers or None)."""

    def call(frame, *arguments):
        path, out = tmp_path / 'scores.parquet', tmp_path / 'out.json'
        if frame is not None:
            frame.to_parquet(path)
        code = main([str(path), '--json', str(out), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err, json.loads(out.read_text()) if out.exists() else None

    return call


def test_rates_are_counted_at_thresholds_of_other_people(run):
    judged, other = table(), table(condition='calibration', seed=1, prefix='o')
    code, printed, _, found = run(pd.concat([judged, other]), '--fmr', '0.05', '--thresholds-from', 'calibration')
    assert code == 0 and len(found['groups']) == 1
    group = found['groups'][0]
    at = group['at'][0]
    impostor = other[~other['genuine']]
    expected = threshold_at_fmr(impostor['similarity'], 0.05).value
    assert at['threshold']['value'] == pytest.approx(expected)
    assert at['tar']['estimate'] == pytest.approx((judged['similarity'][judged['genuine']] >= expected).mean())
    assert (group['people'], group['people_in_both'], group['genuine']) == (12, 0, 36)
    assert 'none / judged' in printed and 'judged as well' not in printed and 'very people' not in printed


def test_people_on_both_sides_of_a_threshold_are_named(run):
    both = pd.concat([table(), table(condition='calibration', seed=1)])
    code, printed, _, found = run(both, '--thresholds-from', 'calibration')
    assert code == 0 and found['groups'][0]['people_in_both'] == 12 and 'judged as well' in printed
    code, printed, _, found = run(both)
    assert code == 0 and [g['group'] for g in found['groups']] == ['none / calibration', 'none / judged']
    assert printed.count('very people that are judged') == 2 and 'not resolvable' in printed


def test_a_table_without_attack_and_condition_is_one_group(run):
    code, printed, _, found = run(table().drop(columns=['attack', 'condition']))
    assert code == 0 and found['groups'][0]['group'] == '' and printed.startswith('all comparisons')


def changed(**columns):
    return table().assign(**columns)


@pytest.mark.parametrize(('frame', 'arguments', 'fault'), [
    (None, (), 'no such file'),
    (table().drop(columns='similarity'), (), 'no column similarity'),
    (table().drop(columns=['genuine', 'probe_subject']), (), 'no column genuine, probe_subject'),
    (changed(similarity=lambda t: t['similarity'].where(t.index != 3)), (), '1 of 630 similarities are NaN'),
    (changed(similarity=np.inf), (), '630 of 630 similarities'),
    (changed(similarity='alike'), (), '630 of 630 similarities'),
    (changed(genuine=2), (), 'genuine holds'),
    (changed(probe_subject=None), (), '630 comparisons without a person'),
    (changed(probe_subject='a', reference_subject='a', genuine=True), (), 'fewer than two people'),
    (table().iloc[:0], (), 'fewer than two people'),
    (changed(genuine=True), (), '594 genuine pairs of two people'),
    (changed(genuine=False), (), 'no genuine pairs'),
    (table().query('genuine'), (), 'no pairs of two people'),
    (table(), ('--fmr', 'many'), 'not a number'),
    (table(), ('--fmr', '1.5'), 'out of range'),
    (table(), ('--fmr', 'nan'), 'out of range'),
    (table(), ('--thresholds-from', 'nowhere'), "no condition 'nowhere'; choose one of judged"),
    (table(), ('--thresholds-from', 'judged'), 'no other condition'),
    (table().drop(columns='condition'), ('--thresholds-from', 'judged'), 'no column condition'),
    (table(), ('--nosuch',), 'unrecognized arguments: --nosuch'),
    (table(), ('--json', '/proc/nowhere/out.json'), 'cannot be written'),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(run, frame, arguments, fault):
    code, _, complained, found = run(frame, *arguments)
    assert code == 2 and fault in complained and complained.count('\n') == 1 and found is None


def test_a_picture_is_no_table(tmp_path, capsys):
    path = tmp_path / 'scores.parquet'
    path.write_bytes(b'\x89PNG not a table')
    assert main([str(path)]) == 2
    assert 'not a Parquet table' in capsys.readouterr().err


def test_the_module_is_a_command(tmp_path):
    path = tmp_path / 'scores.parquet'
    table(people=6).to_parquet(path)
    call = [sys.executable, '-m', 'fpray.metrics.verification', str(path), '--fmr', '0.1']
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0 and 'EER' in done.stdout and done.stderr == ''
    wrong = subprocess.run([*call[:-1], '7'], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count('\n') == 1 and 'Traceback' not in wrong.stderr
