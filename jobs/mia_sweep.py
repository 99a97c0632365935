"""How much does this fingerprint generator give away about the people it was trained on? Membership and identity
inference by shadow GANs (Cavasin 2023), with controls, over several training-set sizes.

    ray job submit --working-dir . -- python jobs/mia_sweep.py --preset desk --store /abs/path
    python jobs/mia_sweep.py --preset smoke                              # without a submit; starts a local Ray
    python jobs/mia_sweep.py --victim.samples G --data.members M --data.nonmembers N   # your own generator
"""

from fpray.studies.cli import run_job
from fpray.studies.config import PRESETS

if __name__ == '__main__':
    run_job(PRESETS, 'fpray.studies.generator:GENERATOR', 'jobs/mia_sweep.py', (__doc__ or '').strip())
