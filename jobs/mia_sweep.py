"""How much does this fingerprint generator give away about the people it was trained on? Membership and identity
inference by shadow GANs (Cavasin 2023), with controls, over several training-set sizes.

    ray job submit --working-dir . -- python jobs/mia_sweep.py --preset desk --store /abs/path
    python jobs/mia_sweep.py --preset smoke                              # without a submit; starts a local Ray
    python jobs/mia_sweep.py --victim.samples G --data.members M --data.nonmembers N   # your own generator
"""

import sys

from fpray.errors import EXIT_CODE, UserError
from fpray.studies.cli import parse
from fpray.studies.config import PRESETS


def main(arguments: list[str]) -> None:
    """Parses, runs, and says where the report is."""
    command = parse(arguments, PRESETS, (__doc__ or '').strip())
    from fpray.studies.run import dry_run, prepare, run_audit  # torch and Ray come in here, after --help

    if command.dry_run:
        print(dry_run(*prepare(command.config, command.settings)))
        return
    outcome = run_audit(command.config, command.settings, command.report, preset=command.preset,
                        command=['python', 'jobs/mia_sweep.py', *arguments])
    print('\n' + '\n'.join([outcome.verdict, *outcome.summary]))
    print(f'\nreport:  {outcome.report}\nresults: {outcome.results}')
    if outcome.ui:
        print(f'MLflow:  {outcome.ui}')


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(130)
