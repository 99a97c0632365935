"""Numbers printed in the source, kept literally so that ours can stand beside them. Cavasin 2023 is the
thesis "Generative fingerprint augmentation against membership inference attacks", University of Padova."""

from dataclasses import dataclass

SOURCE = 'Cavasin 2023'
DATA = 'CASIA-FingerprintV5, 356 x 328 px'
BASE_RATE = 0.5  # half of each query set are members

INCEPTION_NOTE = (
    'An Inception Score cannot exceed the number of classes of its scoring network (1,000 for '
    'InceptionV3). The published scores of 1,563 to 1,639 do, so they and ours share a column but no '
    'scale.')
HITS_NOTE = (
    'Published queries: 4,000, 4,000, 3,200 and 1,600 pictures, half of them members. The binomial p asks '
    "how often guessing at that base rate would hit as often or more. It is the source's arithmetic: it "
    'takes pictures for independent, which prints of one person are not, and on clustered prints it '
    'rejects 7-17 % of true nulls at 5 %.')

CODEC_NOTE = (
    'Published: half of the 4,000 queries are members; IIA was not tried on codecs. The listing beside the '
    'table (Fig. 6.1) weighs the distortion of every codec with one lambda; here each codec is judged with its '
    "own. The binomial p is the source's arithmetic: it takes pictures for independent, which prints of one "
    'person are not, and on clustered prints it rejects 7-17 % of true nulls at 5 %.')


@dataclass(frozen=True)
class Split:
    """A column of Table 4.1: pictures, people, impressions a finger, Inception Score and its deviation."""

    name: str
    images: int
    people: int
    impressions: int
    is_mean: float
    is_std: float


@dataclass(frozen=True)
class Hits:
    """A row of Table 5.1: (members, pictures looked at) in the top 20, 200 and half of the queries."""

    name: str
    images: int
    people: int
    queries: int
    mia: tuple[tuple[int, int], ...]
    iia: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CodecHits:
    """A row of Table 6.1: a codec's lambda and (members, pictures looked at) in the top 20, 200 and half."""

    name: str
    lmbda: float
    queries: int
    mia: tuple[tuple[int, int], ...]


TABLE_4_1 = (
    Split('Real Images', 2000, 50, 5, 1639.2, 7.92),
    Split('D1', 9600, 400, 3, 1620.13, 11.95),
    Split('D2', 4800, 200, 3, 1563.79, 15.99),
    Split('D3', 2400, 100, 3, 1570.89, 18.66),
    Split('D4', 1200, 50, 3, 1571.28, 10.29),
)

TABLE_5_1 = (
    Hits('GAN 9600', 9600, 400, 4000, ((14, 20), (126, 200), (1172, 2000)),
         ((12, 20), (114, 200), (1161, 2000))),
    Hits('GAN 4800', 4800, 200, 4000, ((19, 20), (144, 200), (1133, 2000)),
         ((18, 20), (140, 200), (1133, 2000))),
    Hits('GAN 2400', 2400, 100, 3200, ((12, 20), (108, 200), (869, 1600)),
         ((13, 20), (105, 200), (869, 1600))),
    Hits('GAN 1200', 1200, 50, 1600, ((13, 20), (132, 200), (526, 800)), ((12, 20), (137, 200), (540, 800))),
)

TABLE_6_1 = (  # section 6.1; in the source's order
    CodecHits('Codec 0.01', 0.01, 4000, ((17, 20), (164, 200), (1203, 2000))),
    CodecHits('Codec 0.001', 0.001, 4000, ((14, 20), (142, 200), (1122, 2000))),
    CodecHits('Codec 0.003', 0.003, 4000, ((16, 20), (147, 200), (1163, 2000))),
)


def binomial_p(hits: int, looked_at: int, base_rate: float = BASE_RATE) -> float:
    """Exact one-sided binomial probability of `hits` or more members among `looked_at` pictures by guessing.

    Args:
        hits: members found, 0 to looked_at.
        looked_at: pictures looked at, at least 1.
        base_rate: share of members in the query set, between 0 and 1.
    """
    from scipy.stats import binomtest

    return float(binomtest(hits, looked_at, base_rate, alternative='greater').pvalue)
