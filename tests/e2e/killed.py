"""A study whose driver, Ray and workers are killed in the middle, and the same command again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fpray.reports.results import load
from fpray.store import Store
from fpray.studies.run import Outcome

ROOT = Path(__file__).parents[2]


def resumed(job: str, whole: Outcome, folder: Path, after: int, of: int) -> Any:
    """The results of a second run of a finished study, killed after so many of its stages and called again.

    Args:
        job: script below jobs/.
        whole: the study that ran through; its configuration is run again.
        folder: an empty folder.
        after, of: kill when so many stages are done, which must be fewer than all.
    """
    saved, store = folder / 'config.json', Store(folder / 'store')
    saved.write_text((whole.report.parent / 'config.json').read_text())
    command = [sys.executable, str(ROOT / 'jobs' / job), '--preset', 'smoke', '--config', str(saved),
               '--store', str(folder / 'store'), '--no-mlflow']
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    first = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while len(list(store.published())) < after and time.monotonic() < deadline:
        time.sleep(0.5)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert after <= len(list(store.published())) < of, 'killed in the middle'
    assert subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=900).returncode == 0
    assert not store.verify()
    return load(next((folder / 'store').glob('reports/*/results.json')))
