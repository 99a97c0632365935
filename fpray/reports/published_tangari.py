"""Numbers printed in Tangari et al. 2023, kept literally so that ours can stand beside them.

The source is Tangari, Keskar, Asghar & Kaafar, "On the Adversarial Inversion of Deep Biometric Representations",
April 13, 2023. Figures are copied digit by digit, as words; the names of networks are spelled one way where the source
spells them two. Table 2's, 9's and 15's bodies are not in the text that we have: their cells read "not available".
"""

from collections.abc import Sequence
from typing import TypedDict

SOURCE = 'Tangari et al. 2023'
MISSING = {'not_available': 'the table\'s body is not in the text that we have'}
RUNGS = ('No-Adapt', 'FT-1', 'FT-2', 'FT-3', 'FT-4', 'FT-5')
CONDITIONS = ('Same-Ident.', 'Same-PreProc.', 'Diff-PreProc.')
FACE_MODELS = ('ResNet50', 'SENet50', 'VGG16', 'Facenet', 'OpenFace')
FINGER_MODELS = ('ResNet', 'Inception', 'Xception', 'ResNetV2', 'DenseNet')

PublishedCell = str | dict[str, str]


class Printed(TypedDict):
    """A table of the source: rows named by their first cell; a row of one cell is a heading over the rows below it."""

    caption: str
    columns: list[str]
    rows: list[list[PublishedCell]]
    note: str
    unit: str
    """Of every number that carries none, '%' or ''."""


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[PublishedCell]], note: str = '',
           unit: str = '') -> Printed:
    return {'caption': caption, 'columns': list(columns), 'rows': [list(row) for row in rows], 'note': note, 'unit': unit}


def _blocks(*blocks: tuple[str, str]) -> list[list[PublishedCell]]:
    """Rows under headings; a line of text is a row, its cells lie two blanks or more apart."""
    rows: list[list[PublishedCell]] = []
    for heading, text in blocks:
        rows.append([heading])
        rows += [[cell.strip() for cell in line.split('  ') if cell.strip()] for line in text.strip().splitlines()]
    return rows


def _missing(names: Sequence[str], cells: int) -> list[list[PublishedCell]]:
    """Rows whose bodies the text lacks."""
    return [[name, *[dict(MISSING)] * cells] for name in names]


DSSIM_NOTE = ('(1 - SSIM) / 2 lies between 0 and 1. The source prints values above 1, which no such formula gives, so its '
              'DSSIM and ours share a column but no scale.')
GUESSING = 'Identification by guessing: 0.3 %.'
ACCESS = ('Identification', 'Same image', 'Same subject')  # of which the last two are TAR at 1 % FAR

PUBLISHED: dict[str, Printed] = {
    'tangari-1': _table(
        'Prediction of model characteristics from individual embeddings of different length; the baseline Kennen uses '
        '1,000 probabilities of the model\'s output',
        ('Seen', 'Activation', 'Dropout', 'Max pooling', 'Convolutional layers', 'Kernel', 'Dense layers', 'Optimiser',
         'Batch size'),
        [['Values', 'ReLU, PReLU, ELU, Tanh', 'Yes, No', 'Yes, No', '2, 3, 4', '3x3, 5x5', '2, 3, 4',
          'SGD, Adam, RMSprop', '64, 128, 256'],
         ['Emb. 300', '91.6', '97.9', '99.3', '94.0', '99.6', '91.5', '92.7', '91.6'],
         ['Emb. 500', '93.8', '97.9', '99.5', '96.7', '99.7', '93.8', '94.3', '94.5'],
         ['Emb. 1000', '96.3', '98.3', '99.5', '96.5', '99.6', '95.4', '96.4', '95.4'],
         ['Kennen', '80.6', '94.6', '94.9', '67.1', '84.6', '77.3', '71.8', '50.4'],
         ['Chance', '25.0', '50.0', '50.0', '33.3', '50.0', '33.3', '33.3', '33.3']],
        'Accuracy over 5,000 networks of MNIST-NET (section 4.1).', '%'),
    'tangari-2': _table(
        'Biometric recognition models (target models), face models tested on Facescrub and fingerprint models on PolyU '
        'with 50 test identities',
        ('Model', 'Identification', 'TAR at 1 % FAR'),
        [['Faces'], *_missing(FACE_MODELS, 2), ['Fingerprints'], *_missing(FINGER_MODELS, 2)],
        'The columns are those that section 5.2 describes: identification over a set of identities, and verification by '
        'TAR and FAR.', '%'),
    'tangari-3': _table(
        'Model inference accuracy by length of the embedding, attacker\'s data and adaptation of the target',
        ('Attacker\'s data', *RUNGS),
        _blocks(
            ('Faces, length 128', """
                Same-Ident.    93.33  92.44  92.37  84.44  83.39  66.32
                Same-PreProc.  90.01  89.54  89.31  79.24  86.64  61.06
                Diff-PreProc.  78.66  77.62  72.19  66.75  65.96  49.97"""),
            ('Faces, length 512', """
                Same-Ident.    95.55  93.96  92.91  86.42  85.21  68.31
                Same-PreProc.  92.11  91.24  90.04  86.17  84.97  65.23
                Diff-PreProc.  81.60  80.75  80.12  71.11  69.81  48.21"""),
            ('Faces, length 2048', """
                Same-Ident.    99.78  99.17  98.22  87.09  85.60  69.98
                Same-PreProc.  99.08  98.55  97.73  82.15  83.41  67.22
                Diff-PreProc.  87.22  85.98  85.16  73.48  70.04  50.02"""),
            ('Fingerprints, length 512', """
                Same-Ident.    97.32  96.68  95.61  93.33  89.16  72.67
                Same-PreProc.  96.09  94.87  93.24  91.08  85.50  66.43
                Diff-PreProc.  91.88  90.62  88.12  86.94  82.45  60.12"""),
            ('Fingerprints, length 1024', """
                Same-Ident.    97.84  97.03  96.92  93.81  86.61  71.57
                Same-PreProc.  96.24  95.46  94.84  92.93  84.92  68.59
                Diff-PreProc.  91.95  90.41  89.07  87.26  83.81  60.35"""),
            ('Fingerprints, length 2048', """
                Same-Ident.    99.64  99.27  98.84  95.11  85.90  70.69
                Same-PreProc.  98.28  98.15  97.52  92.24  87.09  69,32
                Diff-PreProc.  92.45  90.77  89.63  87.82  83.73  61.44""")),
        'Guessing has 25 % throughout. "69,32" is printed with a comma.', '%'),
    'tangari-4': _table(
        'Model inference accuracy on models collected from TensorFlow Hub',
        ('Length', 'Classes', 'Accuracy', 'Chance'),
        [['2048', '39', '97.62%', '2.6%'], ['1024', '24', '98.21%', '4.2%'], ['512', '31', '96.04%', '3.2%'],
         ['128', {'not_available': 'not in the text that we have; 105 models less the other rows are 11'}, '98.93%',
          '9.0%']],
        'Section 6.1: 105 models, 16 ResNets and 21 EfficientNets among them; 2.88 % misclassified among ResNets, 3.92 % '
        'among EfficientNets.'),
    'tangari-5': _table(
        'Reconstruction errors (median) when the target model (ResNet50 for faces, ResNet for fingerprints) is adapted',
        ('Adaptation', 'Faces: DSSIM', 'Faces: perceptual', 'Fingerprints: DSSIM', 'Fingerprints: perceptual'),
        [['No-Adapt', '0.68', '0.31', '0.88', '9.80'], ['FT-1', '0.70', '0.32', '0.93', '10.19'],
         ['FT-2', '0.71', '0.33', '1.08', '10.82'], ['FT-3', '1.61', '0.37', '1.31', '11.62'],
         ['FT-4', '1.80', '0.38', '1.70', '12.33'], ['FT-5', '2.32', '0.40', '2.80', '14.40']],
        f'The first row is printed "No FT". {DSSIM_NOTE}'),
    'tangari-6': _table(
        'Reconstruction errors (median) by attacker\'s data',
        ('Attacker\'s data', 'Faces: DSSIM', 'Faces: perceptual', 'Fingerprints: DSSIM', 'Fingerprints: perceptual'),
        [['Same-Ident.', '0.83', '0.23', '0.38', '9.85'], ['Same-PreProc.', '0.98', '0.24', '1.51', '9.98'],
         ['Diff-PreProc.', '2.55', '0.28', '3.39', '31.95']],
        f'The first row is printed "Same-Identities". {DSSIM_NOTE}'),
    'tangari-7': _table(
        'Average reconstruction errors for different target models',
        ('Model', 'Layers', 'Parameters', 'Length', 'DSSIM', 'Perceptual'),
        _blocks(
            ('Faces', """
                ResNet50   175  23M   2048  0.97  0.43
                VGG16      20   14M   512   1.27  0.57
                SENet50    287  26M   2048  0.98  0.44
                OpenFace   157  3.7M  128   1.44  0.67
                Facenet    338  23M   128   0.75  0.39"""),
            ('Fingerprints', """
                ResNet     176  25M  2048  1.15  10.56
                Inception  159  24M  2048  1.18  11.03
                Xception   126  23M  2048  1.15  11.24
                ResNetV2   191  26M  2048  1.18  10.90
                DenseNet   121  8M   1024  1.24  11.52""")),
        f'Means here, medians in Tables 5 and 6. {DSSIM_NOTE}'),
    'tangari-8': _table(
        'Identification and verification with reconstructions, by target model and attacker\'s data',
        ('Target model', *ACCESS),
        _blocks(
            ('Faces, Same-Ident.', """
                ResNet50  28.1  45.4  41.7
                SENet50   73.3  92.0  89.0
                VGG16     32.4  87.9  75.7
                Facenet   41.6  18.0  9.5
                OpenFace  51.4  35.3  27.4"""),
            ('Faces, Same-PreProc.', """
                ResNet50  27.2  32.0  29.8
                SENet50   69.6  88.1  84.8
                VGG16     66.5  83.2  72.6
                Facenet   48.4  12.8  5.6
                OpenFace  33.5  35.1  34.9"""),
            ('Faces, Diff-PreProc.', """
                ResNet50  15.1  25.3  17.0
                SENet50   32.9  41.2  23.3
                VGG16     28.8  39.3  31.9
                Facenet   21.1  9.9   5.3
                OpenFace  13.3  32.3  31.1"""),
            ('Fingerprints, Same-Ident.', """
                ResNet     41.8   73    55.7
                Inception  25.15  59.1  44.4
                Xception   26.3   64.4  46.5
                ResNetV2   37.6   68.4  51.2
                DenseNet   26.9   67.3  48.4"""),
            ('Fingerprints, Same-PreProc.', """
                ResNet     38.7  72.5  53.1
                Inception  23.9  59.5  44.3
                Xception   25.5  64.6  47.7
                ResNetV2   32.3  67.7  49.4
                DenseNet   24.8  67.8  46.2"""),
            ('Fingerprints, Diff-PreProc.', """
                ResNet     3.51  25.4  21.3
                Inception  2.39  14.8  14.7
                Xception   1.18  21.9  21.2
                ResNetV2   2.33  23.5  23.1
                DenseNet   2.92  16.7  15.2""")),
        f'Same image and same subject: TAR at 1 % FAR in the target. {GUESSING}', '%'),
    'tangari-9': _table(
        'Impersonation when the target model is fine-tuned (ResNet50 for faces, ResNet for fingerprints)',
        ('Adaptation', *ACCESS),
        [['Faces, Same-PreProc.'], *_missing(RUNGS, 3), ['Faces, Diff-PreProc.'], *_missing(RUNGS, 3),
         ['Fingerprints, Same-PreProc.'], *_missing(RUNGS, 3), ['Fingerprints, Diff-PreProc.'], *_missing(RUNGS, 3)],
        f'Section 6.3: in FT-5, TAR says that 3 to 5 % of the reconstructions are still accepted; in FT-1 and FT-2 they '
        f'keep at least 50 % of their effectiveness without adaptation. {GUESSING}', '%'),
    'tangari-10': _table(
        'Impersonation with the source\'s reconstructions (Adversarial) and with those of Dosovitskiy & Brox\'s '
        'non-adversarial approach (Baseline), target ResNet50',
        ('Reconstructions', *ACCESS),
        [['Baseline', '52.2', '69.3', '48.0'], ['Adversarial (No-Adapt)', '29.2', '38.1', '33.3'],
         ['Adversarial (FT-2)', '18.2', '35.1', '30.1']],
        'Same image and same subject: TAR at 1 % FAR in the target.', '%'),
    'tangari-11': _table(
        'Impersonation when the attacker has N face embeddings of the target identity, target ResNet50',
        ('Embeddings', 'Identification', 'Same subject'),
        _blocks(
            ('Same-Ident.', """
                1   28.1  41.7
                5   45.2  71.2
                10  60.4  74.5"""),
            ('Same-PreProc.', """
                1   27.2  29.8
                5   31.9  44.4
                10  39.6  46.7"""),
            ('Diff-PreProc.', """
                1   15.1  17.0
                5   22.8  37.7
                10  35.3  43.9""")),
        'Identification by the identity predicted most often; verification (TAR at 1 % FAR) if any of the N is accepted.',
        '%'),
    'tangari-12': _table(
        'Impersonation when the target model is not in the attacker\'s collection: the reconstructor inverts ResNet50',
        ('Target model', *ACCESS),
        _blocks(
            ('Same-Ident.', """
                ResNet50    28.1   45.4   41.7
                ResNet50V2  18.20  25.07  16.34
                ResNeXt     13.43  18.01  12.20
                DenseNet    7.86   15.76  10.09
                SENet50     4.94   9.01   5.52"""),
            ('Same-PreProc.', """
                ResNet50    27.2   32.0   29.8
                ResNet50V2  12.95  15.53  11.05
                ResNeXt     9.35   13.54  9.89
                DenseNet    6.05   11.98  9.16
                SENet50     4.12   6.88   3.81"""),
            ('Diff-PreProc.', """
                ResNet50    15.1  25.3   17.0
                ResNeXt     8.75  12.13  9.46
                ResNet50V2  4.94  8.83   6.16
                DenseNet    2.2   6.96   4.65
                SENet50     1.01  2.95   2.57""")),
        f'Same image and same subject: TAR at 1 % FAR in the target. {GUESSING}', '%'),
    'tangari-15': _table(
        'Fine-tuning of the ResNet50 face model on Facescrub',
        ('Adaptation', 'New images', 'Layers opened', 'Validation accuracy'),
        [[rung, images, dict(MISSING), '≥ 95%'] for rung, images in zip(
            RUNGS[1:], ('5K-10K', '10K-15K', '20K-25K', '30K-35K', '55K-60K'), strict=True)],
        'The images are those of section 5.3, the accuracy that of the caption; the body is not in the text that we have.'),
}
