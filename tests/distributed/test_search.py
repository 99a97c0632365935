"""A search gives the same table however often it is killed, and what a plain loop over Optuna gives."""

import json
import os
import signal
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from fpray.distributed.search import Choice, Float, Int, Outcome, SearchConfig, search
from fpray.errors import UserError
from fpray.store import Context, write_curves

SPACE = {'width': Int(4, 64, log=True), 'rate': Float(1e-4, 1e-1, log=True), 'norm': Choice(('batch', 'none'))}
CONFIG = SearchConfig(trials=6, rounds=2, rung=0.5, keep=0.5, seed=7)
BUDGET = 100


def loss(params, budget):
    """Deeper training is better; what is best at the rung stays best, so that pruning is right."""
    return abs(params['width'] - 20) / 20 + 10 * params['rate'] + (params['norm'] == 'none') + 1 / budget


def toy(context, params, budget):
    """Goes on from its checkpoint; says in `calls` what it trained; once kills its own worker."""
    state = context.scratch / 'state.json'
    start = json.loads(state.read_text()) if state.exists() else 0
    with open(context.settings['calls'], 'a') as f:
        f.write(f'{context.scratch.name} {start} {budget}\n')
    mark = Path(context.settings['calls'] + '.killed')
    if context.scratch.name == '001' and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(context.settings.get('seconds', 0))
    state.write_text(str(budget))
    write_curves(context.out, [{'step': budget, 'loss': loss(params, budget)}])
    return Outcome(loss(params, budget), budget, {'start': start})


def spoiled(context, params, budget):
    if params['width'] > 0:
        raise UserError('nothing to train on', 'give data')


def lost(context, params, budget):
    return Outcome(float('nan'), budget)


def context(folder, **settings):
    for name in ('out', 'scratch'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context('search/toy', 'a' * 20, {}, {}, folder / 'out', folder / 'scratch',
                   settings={'calls': str(folder / 'calls'), **settings})


def by_hand():
    """The same search as a plain loop: (number, params, value, state) of each trial."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7, n_startup_trials=3))
    rows = []
    for _ in range(2):
        asked = [study.ask({name: what.distribution() for name, what in SPACE.items()}) for _ in range(3)]
        survivors = sorted(asked, key=lambda t: (loss(t.params, 50), t.number))[:2]
        for t in asked:
            if t in survivors:
                rows.append((t.number, t.params, loss(t.params, 100), 'complete'))
                study.tell(t, rows[-1][2])
            else:
                rows.append((t.number, t.params, loss(t.params, 50), 'pruned'))
                t.report(rows[-1][2], 50)
                study.tell(t, state=optuna.trial.TrialState.PRUNED)
    return rows


def test_a_killed_search_goes_on_to_the_same_table(ray, tmp_path):
    """One worker killed, then the whole search killed in its second round; nothing finished is trained again."""
    @ray.remote(num_cpus=0)
    class Driver:
        def run(self, here):
            search(SPACE, toy, CONFIG, BUDGET, here)

    here = context(tmp_path, seconds=0.2)
    driver = Driver.remote()
    driver.run.remote(here)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob('scratch/trials/00[3-5]/until-50.json'))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    ray.kill(driver)
    time.sleep(0.5)

    found = search(SPACE, toy, CONFIG, BUDGET, here)
    assert [(t.number, t.params, t.value, t.state) for t in found.trials] == by_hand()
    assert found.reproducible and found.best.value == min(t.value for t in found.trials if t.state == 'complete')
    assert {t.extra['start'] for t in found.trials if t.state == 'complete'} == {50}
    calls = Path(here.settings['calls']).read_text().splitlines()
    finished = [c for c in calls if c.startswith(('000', '002'))]
    assert len(finished) == len(set(finished)), calls
    assert calls.count('001 0 50') == 2

    found.save(here.out)
    table = pd.read_parquet(here.out / 'trials.parquet')
    assert list(table['params.width']) == [t.params['width'] for t in found.trials]
    assert json.loads((here.out / 'trials.json').read_text())['best'] == found.best.number
    assert len(list(here.out.glob('trials/*/curves.jsonl'))) == 6


def test_what_a_trial_says_reaches_the_user(ray, tmp_path):
    one = SearchConfig(trials=1, rounds=1, rung=1)
    with pytest.raises(UserError, match='nothing to train on; give data'):
        search(SPACE, spoiled, one, BUDGET, context(tmp_path / 'a'))
    with pytest.raises(UserError, match='none of 1 trials ended with a finite value'):
        search(SPACE, lost, one, BUDGET, context(tmp_path / 'b'))


@pytest.mark.slow
def test_by_arrival(ray, tmp_path):
    """Not reproducible, but every trial is of the space, none is lost and the best is the best."""
    config = SearchConfig(trials=6, mode='async', seed=7)
    found = search(SPACE, toy, config, BUDGET, context(tmp_path))
    assert not found.reproducible and [t.number for t in found.trials] == list(range(6))
    for t in found.trials:
        assert t.value == loss(t.params, t.images) and 4 <= t.params['width'] <= 64
        assert t.state == ('complete' if t.images == BUDGET else 'pruned')
    assert found.best.value == min(t.value for t in found.trials if t.state == 'complete')


@pytest.mark.parametrize('fault', [{'rounds': 0}, {'trials': 2, 'rounds': 3}, {'rung': 0}, {'keep': 1.5},
                                   {'mode': 'fast'}])
def test_impossible_searches_are_refused(fault):
    with pytest.raises(UserError, match=r'search\.'):
        SearchConfig(**fault)
