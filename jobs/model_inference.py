"""Which network made this vector? Model inference (Tangari et al. 2023, sections 4.1 and 6.1): one stolen embedding against
the networks that the attacker knows, with controls; adapted targets, other data, a large pool, 'none of these'.

    ray job submit --working-dir . -- python jobs/model_inference.py --preset desk --store /abs/path
    python jobs/model_inference.py --preset smoke                        # without a submit; starts a local Ray
    python jobs/model_inference.py identify --embedding FILE.npy --store /abs/path     # one vector, by a finished study
"""

import sys

from fpray.studies.cli import run_job
from fpray.studies.inference_config import PRESETS
from fpray.studies.inference_identify import run_identify

if __name__ == '__main__':
    if sys.argv[1:2] == ['identify']:
        run_identify(sys.argv[2:])
    else:
        run_job(PRESETS, 'fpray.studies.inference_study:INFERENCE', 'jobs/model_inference.py', (__doc__ or '').strip())
