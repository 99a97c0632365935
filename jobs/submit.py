"""Submit a job script and follow it to its end: `python jobs/submit.py jobs/mia_sweep.py --preset desk ...`.

It goes to a local Ray that is started for it and ended after it or, where RAY_ADDRESS names a job server
(`http://HOST:8265`), to that cluster. Unlike `ray job submit`, it exits with the driver's own code.
"""

import os
import sys
from pathlib import Path

from fpray.distributed.cluster import local_cluster, submit
from fpray.errors import EXIT_CODE, UserError

ROOT = Path(__file__).resolve().parents[1]  # travels with the job, so that a script's path is relative to it
FORWARDED = ('MLFLOW_TRACKING_URI',)  # a cluster's driver does not inherit this shell's environment


def main(arguments: list[str]) -> int:
    """Submits `arguments[0]` with the rest as its flags.

    Returns:
        The driver's exit code.

    Raises:
        UserError: no such script in the project, or no Ray answers.
    """
    if not arguments or arguments[0] in ('-h', '--help'):
        print(__doc__)
        return 0 if arguments else EXIT_CODE
    script = Path(arguments[0]).resolve()
    if not script.is_file() or not script.is_relative_to(ROOT):
        raise UserError(f'{arguments[0]} is no script in {ROOT}', 'name a job, e.g. jobs/mia_sweep.py')
    entrypoint = ['python', str(script.relative_to(ROOT)), *arguments[1:]]
    env = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    address = os.environ.get('RAY_ADDRESS')
    if address:
        return submit(address, entrypoint, working_dir=ROOT, env=env)
    print('starting a local Ray ...', flush=True)
    with local_cluster() as cluster:
        return submit(cluster.jobs, entrypoint, working_dir=ROOT, env=env, token=cluster.token)


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(130)
