"""A learned image codec as a tool: train it on your pictures, compress folders, decompress them, compare the prints.

    python jobs/codec.py train --out model --data.root pictures --lmbda 0.01
    python jobs/codec.py compress --model model --input pictures --output compressed
    python jobs/codec.py decompress --model model --input compressed --output again
    python jobs/codec.py fidelity --before pictures --after again --out fidelity.json
"""

import sys

from fpray.errors import EXIT_CODE, UserError
from fpray.studies.codec_tool import run_command

if __name__ == '__main__':
    try:
        print(run_command(sys.argv[1:], (__doc__ or '').strip()))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(130)
