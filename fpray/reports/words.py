"""The report's words by study: a generator's (mia) and a codec's. Every sentence that names the model stands here."""

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PictureGroup:
    """Pictures whose key starts with `prefix`: heading, what is seen, and whether they show people of the set."""

    prefix: str
    heading: str
    text: str
    people: bool = False
    broad: bool = False  # a strip that wants the page's width
    section: str = 'pictures'  # id of the section that shows them


@dataclass(frozen=True)
class Words:
    """What a report says about one kind of model.

    Attributes:
        noun: what is audited, e.g. 'generator'.
        contents: id of each section and its name in the contents, in the page's order.
        meaning: by verdict, what was shown and what was not.
        unseparated: the same for a finding where membership was not drawn at random.
        glossary: terms with their explanations.
        pictures: groups of pictures in the page's order.
        sweep: how to read the leak against the training-set size.
    """

    noun: str
    contents: Pairs
    meaning: dict[str, tuple[str, str]]
    unseparated: tuple[str, str]
    glossary: Pairs
    pictures: tuple[PictureGroup, ...]
    sweep: str

    def controls(self) -> dict[str, tuple[str, str, str]]:
        """By control: its name, what it is, where it should lie."""
        return {
            'placebo': ('Placebo victim', 'Same recipe, as many other people, same attack.', 'at chance'),
            'pictures_alone': ('Pictures alone', f'Members against non-members with no {self.noun} at hand.', 'at chance'),
            'permuted_null': ('Permuted people', 'Membership relabelled at random, person by person.', 'at chance'),
            'rehearsal': ('Rehearsal victim', 'Positive control: a leak the attack must find.', 'above chance'),
            'smallest_detectable': ('Smallest detectable leak', 'What this attack would have shown in 4 of 5 such audits.',
                                    ''),
        }


_THREAT: Pairs = (('threat', 'The attacker'),)
_FRONT: Pairs = (('result', 'The result'), ('meaning', 'What it means'))
_CONTROLS: Pairs = (('controls', 'Controls'),)
_BACK: Pairs = (('not-found', 'Not found'), ('rerun', 'Run it again'), ('glossary', 'Glossary'))

_NOT_FOUND = (
    'These attacks did not tell the people trained on from others in a way that chance, or a placebo, '
    'could not have done. The positive control shows that the attack works where there is something to '
    'find.',
    'It does not follow that nothing leaks. A leak smaller than the smallest detectable one, or one '
    'that another attack would see, would look exactly like this page.')
_NO_VERDICT = (
    'The numbers are shown, and no verdict is drawn from them: something that a verdict needs is '
    'missing or did not work. The verdict above says what.')
_NEEDED = 'The controls below show what is needed before the question can be answered.'
_NOT_EACH = (
    'It does not follow that each person can be picked out. An AUC is the chance that a person trained '
    'on ranks above one who was not; the rates at few false alarms, below, say how many single people '
    'stand out.')
_TWO_FOLDERS = (
    'The attack tells the two folders apart. Whether that is because one of them was trained on, or '
    'because the two were captured or prepared differently, this audit cannot say: it did not draw who is '
    'a member.')
_DRAW = 'Only a random draw of members by person, made before training, could separate the two.'
_TOP = PictureGroup(
    'top', 'Highest-scored queries',
    'The query pictures that the attack holds to be members, best first; those that are members are '
    'marked (the shape of Fig. 5.2 in Cavasin 2023).', people=True)
_SHARED: Pairs = (
    ('AUC',
     'The chance that a member ranks above a non-member. 0.5 is guessing, 1 is perfect.'),
    ('Balanced accuracy',
     'The mean share of members and of non-members called rightly at a threshold set beforehand, here on '
     'the rehearsal victim.'),
    ('Chance',
     'What guessing would give; stands beside every rate.'),
    ('Epsilon, log-odds',
     "Epsilon bounds what anyone can learn about one person's inclusion. It is claimed only where "
     'inclusion was a coin toss per person; elsewhere the same arithmetic is called log-odds.'),
    ('IIA',
     'Identity inference: unseen impressions of people trained on, against people never seen.'),
    ('Impression, identity, subject',
     'One picture; one finger; one person.'),
    ('Interval',
     '95 %, over people: fingers of one person are alike, so people and not pictures are counted.'),
    ('Max-T',
     'A permutation p that pays for having tried many attacks.'),
    ('Member',
     'A picture, finger or person that was in the training set, drawn at random before training.'),
    ('Memorisation',
     'Trained impressions against unseen impressions of the same fingers.'),
    ('MIA',
     'Membership inference: pictures trained on, against pictures of people never seen.'),
    ('n',
     'Pictures behind a number; the number of people stands beside it.'),
    ('Permuted people',
     'Members and non-members are relabelled at random, person by person: checks the arithmetic.'),
    ('Placebo victim',
     'The same recipe trained on as many other people. What the attack "finds" there is no leak.'),
    ('Rehearsal victim',
     "A victim trained on the attacker's own people. The attack must find that leak, or it cannot be "
     'trusted to find any.'),
    ('Resolvable',
     'A false-positive rate needs at least 5 false positives from 5 people; rarer ones are not printed.'),
    ('Smallest detectable leak',
     'The AUC that this attack would have shown in 4 of 5 such audits.'),
    ('TPR at 1 % FPR',
     'Share of members found when one non-member in a hundred is flagged wrongly.'),
)


def _glossary(*own: tuple[str, str]) -> Pairs:
    return tuple(sorted((*_SHARED, *own), key=lambda pair: pair[0].lower()))


_GENERATOR = Words(
    noun='generator',
    contents=(
        *_FRONT, *_THREAT, *_CONTROLS, ('table-5-1', 'Hits in the top k'), ('table-4-1', 'Sets and scores'),
        ('sweep', 'Training-set size'), ('curves', 'Every attack'), ('stopping', 'When to stop'),
        ('search', 'The search'), ('pictures', 'Pictures'), ('patterns', 'Pattern classes'), *_BACK),
    meaning={
        'Found': (
            'Someone who only asks this generator for samples can tell, better than by guessing, whose '
            'fingerprints it was trained on. The interval of the attack lies above chance, and so does its '
            'lead over a placebo: the same attack on a generator that never saw these people.', _NOT_EACH),
        'Not found': _NOT_FOUND,
        'Cannot say': (
            _NO_VERDICT, f'An unsettled audit is neither good nor bad news about the generator. {_NEEDED}'),
    },
    unseparated=(_TWO_FOLDERS, f'It does not follow that the generator leaks. {_DRAW}'),
    glossary=_glossary(
        ('Black box',
         'The attack sees samples of the generator and nothing else of it.'),
        ('Fréchet distance',
         'How far two sets of pictures lie apart in the features of a network. Smaller is closer.'),
        ('Inception Score',
         'How sure and how varied a classifier is about a set of pictures. Used to match a shadow to the '
         "victim, not as a mark of quality; it cannot exceed the classifier's number of classes."),
        ('Pictures alone',
         'Telling the two sides apart with no generator at all. If that works, the sides differ as pictures.'),
        ('Precision and recall',
         'Share of samples that look like real pictures; share of real pictures that samples cover.'),
        ('Shadow',
         "The attacker's own generator and discriminator, trained on samples of the victim until it matches "
         'it.'),
        ('Victim',
         'The audited generator.')),
    pictures=(
        PictureGroup('grid/real', 'What the victims learned from', 'Pictures of the set itself.', people=True),
        PictureGroup('grid/victim', 'What the victims make',
                     'Samples of each victim: all that the attack sees of it.'),
        PictureGroup('grid/shadow', 'What the shadows make',
                     "Samples of the attacker's own generators at their stopping points."),
        _TOP),
    sweep='Not part of this audit: there is one generator and one size.')

_CODEC = Words(
    noun='codec',
    contents=(
        *_FRONT, *_CONTROLS, ('gaps', 'Members and others'), ('rate-distortion', 'Rate and distortion'),
        ('frontier', 'The defences'), ('table-6-1', 'Hits in the top k'), ('sweep', 'Training-set size'),
        ('curves', 'Every attack'), *_THREAT, ('training', 'Training'), ('fidelity', 'Fingerprints after'),
        ('pictures', 'Pictures'), *_BACK),
    meaning={
        'Found': (
            'Someone who has pictures compressed by this codec, and sees only the file sizes and the decoded '
            'pictures, can tell, better than by guessing, whose fingerprints it was trained on. The interval '
            'of the attack lies above chance, and so does its lead over a placebo: the same attack on a codec '
            'that never saw these people.', _NOT_EACH),
        'Not found': _NOT_FOUND,
        'Cannot say': (_NO_VERDICT, f'An unsettled audit is neither good nor bad news about the codec. {_NEEDED}'),
    },
    unseparated=(_TWO_FOLDERS, f'It does not follow that the codec leaks. {_DRAW}'),
    glossary=_glossary(
        ('BD-rate',
         'Mean difference of the bits that two codecs need for the same PSNR, in percent; below 0 saves bits '
         '(Bjøntegaard 2001).'),
        ('Black box',
         'The attack sees how many bits a picture takes and how it comes back, and nothing else of the codec.'),
        ('bpp',
         'Bits a pixel: the size of the compressed picture over its number of pixels.'),
        ('Calibrated score',
         'How much cheaper a picture is for this codec than for one trained on people who are on neither side. '
         'Without it, an attack mostly ranks pictures by how hard they are.'),
        ('Defence',
         'A way to train a codec that should leak less, judged by its leak and by what it costs in quality.'),
        ('Lambda, λ',
         'Weight of the distortion in the loss: a large one buys better pictures with more bits.'),
        ('Loss',
         'bpp + λ · MSE, with the mean squared error on the 0-255 scale: what the codec was trained to make small.'),
        ('Pictures alone',
         'Telling the two sides apart with no codec at all. If that works, the sides differ as pictures.'),
        ('PSNR, SSIM, MS-SSIM',
         'Measures of how close the decoded picture is to the original. Larger is closer.'),
        ('Reference codec',
         'A codec of the same recipe and λ that shares no person with members or non-members.'),
        ('Shadow codecs',
         'Codecs that the attacker trains on people of its own, to see what a picture costs a codec that '
         'never saw it.'),
        ('This run',
         'A number of fewer than three trained codecs: it says nothing about the recipe or the defence.'),
        ('Twin',
         'A generator trained on the private pictures; the defended codec is trained only on its samples.'),
        ('Victim',
         'An audited codec.')),
    pictures=(
        PictureGroup('rd', 'The same picture at each λ',
                     'One query picture, and what comes back of it at each λ (the shape of Fig. 4.8 in Cavasin 2023).',
                     people=True, broad=True, section='rate-distortion'),
        PictureGroup('grid/real', 'What the codecs learned from', 'Pictures of the set itself.', people=True),
        PictureGroup('grid/twin', 'What the twin makes',
                     "The defended codec's whole training set is of this kind."),
        PictureGroup('grid/stand-in', 'The synthetic stand-in', 'Training pictures that show nobody.'),
        _TOP),
    sweep='Not part of this audit: the codecs were trained on one size.')

WORDS = {'mia': _GENERATOR, 'codec': _CODEC}
