"""The report's words by study: a generator's (mia), a codec's and those of embeddings (inference, inversion).

Every sentence that names the model stands here."""

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]
SECTIONS = '*'  # in the contents: here stand the sections that the study itself built


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
        own_controls: the controls' names, what they are and where they should lie, where they are not a membership study's.
        numbers: the endpoint's numbers: key in the results' 'primary' and what it is.
        scope: what the interval speaks of, and what it does not.
        asked: how it was decided whom an attack is asked about.
        apart: what an attack learns from, and whom that shares nobody with.
        identities: what an identity of these pictures is.
        rest: what the folded negative results are.
        chance: when a rate is not told from chance.
    """

    noun: str
    contents: Pairs
    meaning: dict[str, tuple[str, str]]
    unseparated: tuple[str, str]
    glossary: Pairs
    pictures: tuple[PictureGroup, ...]
    sweep: str = ''
    own_controls: tuple[tuple[str, tuple[str, str, str]], ...] = ()
    numbers: Pairs = ()
    scope: str = (
        'The interval speaks of this model file under this attack. Words about a size of training set, a recipe or a '
        'defence need at least three victims with new seeds and new draws of members.')
    asked: str = 'membership was fixed before anything was trained'
    apart: str = 'Everything an attack learns from shares no person with members or non-members.'
    identities: str = 'fingers'
    rest: str = 'Not told from chance on other victims or by other units'
    chance: str = 'Not told from chance: the interval holds 0.5, or max-T p is 0.05 or more.'

    def controls(self) -> dict[str, tuple[str, str, str]]:
        """By control: its name, what it is, where it should lie."""
        return dict(self.own_controls) or {
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
_COMMON: Pairs = (
    ('Chance',
     'What guessing would give; stands beside every rate.'),
    ('Interval',
     '95 %, over people: fingers of one person are alike, so people and not pictures are counted.'),
    ('n',
     'Pictures behind a number; the number of people stands beside it.'))
_SHARED: Pairs = (
    ('AUC',
     'The chance that a member ranks above a non-member. 0.5 is guessing, 1 is perfect.'),
    ('Balanced accuracy',
     'The mean share of members and of non-members called rightly at a threshold set beforehand, here on '
     'the rehearsal victim.'),
    ('Epsilon, log-odds',
     "Epsilon bounds what anyone can learn about one person's inclusion. It is claimed only where "
     'inclusion was a coin toss per person; elsewhere the same arithmetic is called log-odds.'),
    ('IIA',
     'Identity inference: unseen impressions of people trained on, against people never seen.'),
    ('Impression, identity, subject',
     'One picture; one finger; one person.'),
    ('Max-T',
     'A permutation p that pays for having tried many attacks.'),
    ('Member',
     'A picture, finger or person that was in the training set, drawn at random before training.'),
    ('Memorisation',
     'Trained impressions against unseen impressions of the same fingers.'),
    ('MIA',
     'Membership inference: pictures trained on, against pictures of people never seen.'),
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
_EMBEDDINGS: Pairs = (
    ('Adaptation, FT-1 to FT-5',
     'Training an off-the-shelf network further on the owner\'s data. The attacker knows the network only as it was before '
     '(No-Adapt).'),
    ('Candidate',
     'A network that the attacker can get hold of. Which of them made the stolen embedding is to be found out.'),
    ('Embedding',
     'The vector that a recognition network makes of a picture: what is stored as a person\'s template.'),
    ('Impression, identity, subject',
     'One picture; one finger, or face; one person.'),
    ('Permuted people',
     'The right answers are dealt out again at random, person by person: checks the arithmetic.'),
    ('Same-Ident., Same-PreProc., Diff-PreProc.',
     'What the attacker\'s pictures are: other pictures of the target\'s people; other people in the same pipeline; other '
     'people through another sensor or alignment.'),
    ('Smallest detectable effect',
     'The AUC that this attack would have shown in 4 of 5 such audits.'))


def _glossary(*own: tuple[str, str], shared: Pairs = _SHARED) -> Pairs:
    return tuple(sorted((*_COMMON, *shared, *own), key=lambda pair: pair[0].lower()))


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

_SECTIONED: Pairs = (
    *_FRONT, ('endpoint', 'The endpoint'), *_THREAT, *_CONTROLS, (SECTIONS, ''), ('pictures', 'Pictures'), *_BACK)
_SECTIONED_REST = ('In the tables above: not told from chance (where controls and strangers belong), not resolvable, '
                   'not available')
_SECTIONED_CHANCE = 'Not told from chance: the interval holds the chance value, or lies below it.'
_OUTSIDE = ('Everything an attack learns from shares no person with those it is asked about, but where a table says '
            'Same-Ident.')
_SCOPE = ('The interval is over people and speaks of these networks under this attack. Words about an architecture, a '
          'recipe or an adaptation need at least three networks with new seeds.')

_INFERENCE = Words(
    noun='embedding',
    contents=_SECTIONED,
    meaning={
        'Found': (
            'Someone who holds one embedding, and cannot ask the network that made it, can tell better than by guessing '
            'which of the candidate networks that was. The interval of the attack lies above chance, and so does its lead '
            'over a placebo: the same classifier taught with shuffled names.',
            'It does not follow that any network can be named. The attack chooses among its candidates; a network that is '
            'not among them can at best be called "none of these", and the rate of that stands below. Nor does it follow '
            'that an architecture is recognised: where a twin of other weights is told apart too, it is the weights.'),
        'Not found': (
            'From one embedding these classifiers did not tell the candidate networks apart in a way that chance, or a '
            'placebo, could not have done. The positive control shows that the attack works where there is something to '
            'find.',
            'It does not follow that an embedding says nothing of its network. A footprint smaller than the smallest '
            'detectable one, or one that another attack would see, would look exactly like this page.'),
        'Cannot say': (
            _NO_VERDICT, f'An unsettled audit is neither good nor bad news about the embeddings. {_NEEDED}'),
    },
    unseparated=(_NO_VERDICT, _NEEDED),
    glossary=_glossary(
        ('Accuracy',
         'The share of embeddings whose network is named rightly.'),
        ('AUC',
         'The chance that the network that made an embedding gets a higher score for it than one that did not. 0.5 is '
         'guessing, 1 is perfect.'),
        ('Auxiliary classifier',
         'The attacker\'s network that names the candidate from one embedding; one for each length.'),
        ('None of these',
         'The answer where an embedding looks like no candidate\'s. The threshold is set on other people.'),
        ('Placebo',
         'The same classifier taught with the networks\' names shuffled. What it "finds" is no footprint.'),
        ('Rehearsal',
         'The same attack where the answer is known and nothing was adapted. It must succeed, or the attack cannot be '
         'trusted.'),
        ('Twin',
         'A candidate\'s architecture trained again from another seed.'), shared=_EMBEDDINGS),
    pictures=(PictureGroup('grid', 'What the networks see', 'Pictures of the set itself.', people=True),),
    own_controls=(
        ('placebo', ('Placebo', 'The same classifier, taught with shuffled names of networks.', 'at chance')),
        ('pictures_alone', ('Pictures alone', 'The same question put to the pictures instead of their embeddings.',
                            'at chance')),
        ('permuted_null', ('Permuted people', 'The right answers dealt out again, person by person.', 'at chance')),
        ('rehearsal', ('Rehearsal', 'Positive control: embeddings of the attacker\'s own networks.', 'above chance')),
        ('smallest_detectable', ('Smallest detectable effect', 'What this attack would have shown in 4 of 5 such audits.',
                                 ''))),
    numbers=(
        ('auc', 'AUC, the endpoint'), ('minus_placebo', 'The same minus the placebo\'s'),
        ('accuracy', 'Embeddings whose network is named rightly'),
        ('tpr_at_fpr_1pct', 'Networks found where 1 % of the wrong ones are')),
    scope=_SCOPE, asked='who is asked about was fixed before anything was trained',
    apart=_OUTSIDE, identities='identities', rest=_SECTIONED_REST, chance=_SECTIONED_CHANCE)

_INVERSION = Words(
    noun='embedding',
    contents=_SECTIONED,
    meaning={
        'Found': (
            'Someone who holds one stolen embedding of a person can make a picture from it that a matcher which the '
            'attack never saw takes for this person more often than for others. The interval of the endpoint lies above '
            'chance, and so does its lead over a placebo: the same reconstructor, given vectors that it cannot read.',
            'It does not follow that every template opens every door. How often a reconstruction is accepted, how often '
            'strangers are let in by the same pictures, and how often the person is, stands below: only the difference is '
            'the attack\'s. Nor does it follow that the pictures would deceive a human eye.'),
        'Not found': (
            'Pictures made from the stolen embeddings did not resemble their people, to a matcher which the attack never '
            'saw, in a way that chance, or a placebo, could not have done. The positive control shows that the attack '
            'works where there is something to find.',
            'It does not follow that the templates can be given away. An effect smaller than the smallest detectable one, '
            'or a stronger reconstruction, would look exactly like this page; and in the target itself more may get in.'),
        'Cannot say': (
            _NO_VERDICT, f'An unsettled audit is neither good nor bad news about the templates. {_NEEDED}'),
    },
    unseparated=(_NO_VERDICT, _NEEDED),
    glossary=_glossary(
        ('AUC',
         'The chance that a reconstruction resembles its own person\'s references more than another person\'s. 0.5 is '
         'guessing, 1 is perfect.'),
        ('DET',
         'Misses against false matches at every threshold, on normal-deviate axes, where two bell curves give a straight '
         'line.'),
        ('DSSIM',
         '(1 - SSIM) / 2: 0 for equal pictures, 0.5 for unrelated ones.'),
        ('End to end',
         'The network that made the embedding is inferred first, and wrong guesses count; beside it, the right network '
         'given.'),
        ('FMR, FNMR',
         'False match rate: pairs of different people that match. False non-match rate: pairs of one person that do not.'),
        ('Judge',
         'A matcher that the attack never saw: trained on other people, or somebody else\'s.'),
        ('Perceptual distance',
         'Euclidean distance between the embeddings of two pictures in one fixed network.'),
        ('Placebo',
         'The same reconstructor, given the same templates with their numbers in other orders and signs. What it '
         '"reconstructs" is what any such picture would pass for.'),
        ('Rehearsal',
         'The same attack on other people with the network given. It must succeed, or the attack cannot be trusted.'),
        ('Same image, same subject',
         'A reconstruction held against the very picture whose embedding was stolen; against another one of the person.'),
        ('Strangers',
         'The same reconstructions held against other people\'s references: what gets in without resembling anyone.'),
        ('TAR, FAR',
         'Shares accepted of the person\'s own pairs and of others\', at one threshold, which is set on other people.'),
        ('Target',
         'The network whose embeddings were stolen.'), shared=_EMBEDDINGS),
    pictures=(
        PictureGroup('rec', 'Originals beside reconstructions',
                     'What was made from the stolen embedding, beside the picture it was an embedding of (the shapes of '
                     'Figs. 2, 3 and 9 of the source).', people=True, broad=True),
        PictureGroup('grid', 'What the networks see', 'Pictures of the set itself.', people=True)),
    own_controls=(
        ('placebo', ('Placebo', 'The same reconstructor, the templates\' numbers in other orders and signs.', 'at chance')),
        ('pictures_alone', ('Mean picture', 'The mean training picture for everybody: no embedding is used.', 'at chance')),
        ('permuted_null', ('Permuted people', 'Reconstructions dealt out to other people at random.', 'at chance')),
        ('rehearsal', ('Rehearsal', 'Positive control: the same attack on other people, network given.', 'above chance')),
        ('smallest_detectable', ('Smallest detectable effect', 'What this attack would have shown in 4 of 5 such audits.',
                                 ''))),
    numbers=(
        ('auc', 'AUC, the endpoint'), ('minus_placebo', 'The same minus the placebo\'s'),
        ('acceptance.own', 'An outsider gets in with a reconstruction'),
        ('acceptance.strangers', 'The same reconstructions pass for strangers'),
        ('acceptance.difference', 'The difference of the two'),
        ('acceptance.genuine', 'The person gets in with another picture'),
        ('tpr_at_fpr_1pct', 'TAR of the reconstructions at FMR 1 %')),
    scope=_SCOPE, asked='whose templates are stolen was fixed before anything was trained',
    apart=_OUTSIDE, identities='identities', rest=_SECTIONED_REST, chance=_SECTIONED_CHANCE)

WORDS = {'mia': _GENERATOR, 'codec': _CODEC, 'inference': _INFERENCE, 'inversion': _INVERSION}
