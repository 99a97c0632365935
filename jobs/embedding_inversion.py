"""What did a person look like, given one stolen template, and does the picture get in? Embedding inversion (Tangari et al.
2023): the network is inferred, the template inverted, the picture tried in the target and in a matcher never seen.

    ray job submit --working-dir . -- python jobs/embedding_inversion.py --preset desk --store /abs/path
    python jobs/embedding_inversion.py --preset smoke                    # without a submit; starts a local Ray
    python jobs/embedding_inversion.py --target.model small-residual     # the attacker is told the network
    python jobs/embedding_inversion.py --preset faces --data.root D --data.layout orl --target.kind dlib
    python jobs/embedding_inversion.py --data.root D --target.templates T  # an owner's stored templates (.npy)
"""

from fpray.studies.cli import run_job
from fpray.studies.inversion_config import PRESETS

if __name__ == '__main__':
    run_job(PRESETS, 'fpray.studies.inversion_study:INVERSION', 'jobs/embedding_inversion.py', (__doc__ or '').strip())
