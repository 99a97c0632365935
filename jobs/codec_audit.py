"""How much does this learned codec give away about the people it was trained on? Membership inference by rate and
distortion (Cavasin 2023, section 6.1), calibrated, with controls; and what defences, the generative twin among them, save.

    ray job submit --working-dir . -- python jobs/codec_audit.py --preset desk --store /abs/path
    python jobs/codec_audit.py --preset smoke                            # without a submit; starts a local Ray
    python jobs/codec_audit.py --victim.decompressed D --victim.compressed C --victim.primary 0.01 \\
        --data.members M --data.nonmembers N                             # your own codec: files alone, no weights
"""

from fpray.studies.cli import run_job
from fpray.studies.codec_config import PRESETS

if __name__ == '__main__':
    run_job(PRESETS, 'fpray.studies.codec_study:CODEC', 'jobs/codec_audit.py', (__doc__ or '').strip())
