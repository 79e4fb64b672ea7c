"""Monitors of chance (docs/formats/monitor.md): what the house owes about its games."""

import collections
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from slots import REELS

WINDOW = 1 << 20
OBSERVED = 1 << 14
BLOCK = 256
UNIT = 1 << 32
BOUND = 1 << 52
MILLION = 1_000_000
HIGHS, LOWS = (3, 6, 9), (8, 10, 12)
LOG2_E_LESS, LOG2_E_MORE = Fraction(1_442_695_040, 10**9), Fraction(1_442_695_041, 10**9)

# Return and variance in millionths, by maths hash.
THEORIES = {"aba683ea939206e84253c8e0a4f283273edfac470f9ed87b9a40775651016ff7": (956_369, 26_345_822)}

Entry = dict[str, object]


@lru_cache(maxsize=1 << 16)
def logarithm(n: int) -> int:
    """L of monitor.md."""
    power = n.bit_length() - 1
    mantissa = n << 127 >> (power + 64)
    for _ in range(32):
        power <<= 1
        square = mantissa * mantissa
        if square >> 127:
            power |= 1
            mantissa = square >> 64
        else:
            mantissa = square >> 63
    return power


def above(n: int) -> int:
    """H of monitor.md."""
    return logarithm(n) + 2


def bounded(evidence: int) -> int:
    return max(-BOUND, min(evidence, BOUND))


@dataclass
class Stream:
    name: str
    sizes: list[int]
    evidence: int = 0
    alarmed: bool = False
    counts: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.evidence, self.alarmed = 0, False
        self.counts, self.block = [0] * len(self.sizes), [0] * len(self.sizes)
        self._seen = self._waiting = 0

    def event(self, cell: int) -> bool:
        """Takes an event; tells whether a block was weighed."""
        self.block[cell] += 1
        self._waiting += 1
        if self._waiting < BLOCK:
            return False
        common = logarithm(sum(self.sizes)) - above(self._seen + len(self.sizes))
        for cell, events in enumerate(self.block):
            if events:
                self.evidence += events * (logarithm(self.counts[cell] + 1) + common - above(self.sizes[cell]))
                self.counts[cell] += events
        self.evidence = bounded(self.evidence)
        self.block = [0] * len(self.sizes)
        self._seen, self._waiting = self._seen + BLOCK, 0
        return True

    def written(self) -> Entry:
        return {
            "alarmed": self.alarmed,
            "block": list(self.block),
            "counts": list(self.counts),
            "evidence": self.evidence,
            "name": self.name,
        }


@dataclass
class Bet:
    """A bet on the return: high by what is added for a payout and stake, low by two integers."""

    name: str
    power: int
    mean: int = 0
    gain: int | None = None
    loss: int = 0
    evidence: int = 0
    alarmed: bool = False

    def begin(self) -> None:
        self.evidence, self.alarmed = 0, False

    def round(self, payout: int, stake: int) -> None:
        if self.gain is None:
            whole = stake * MILLION << self.power
            added = logarithm(whole + payout * MILLION - self.mean * stake) - logarithm(whole) - 2
        else:
            added = self.gain - min(-(-self.loss * payout // stake), 1 << 60)
        self.evidence = bounded(self.evidence + added)

    def written(self) -> Entry:
        return {"alarmed": self.alarmed, "evidence": self.evidence, "name": self.name}


def low_bet(power: int, mean: int, variance: int) -> Bet:
    rate = Fraction(1, 1 << power)
    psi = rate**2 * Fraction(variance, MILLION) / (2 * (1 - rate / 3))
    gain = UNIT * (LOG2_E_LESS * rate * Fraction(mean, MILLION) - LOG2_E_MORE * psi)
    loss = UNIT * LOG2_E_MORE * rate
    return Bet(f"return-low/{power}", power, gain=max(0, gain.__floor__()), loss=loss.__ceil__())


@dataclass
class Owed:
    """An entry that the house has to make, and after how many rounds it came to be owed."""

    entry: Entry
    rounds: int
    late: bool = False


class Monitor:
    """The monitor of one release of a game."""

    def __init__(self, name: str, maths: str, strips: dict[str, list[list[str]]], symbols: list[str]) -> None:
        self.maths = maths
        self.rounds = 0
        self.owed: collections.deque[Owed] = collections.deque()
        self._game = name
        lengths = sorted({len(strip) for strip in strips["base"] + strips["free"]} - {1})
        self._draws = {length: Stream(f"draws/{length}", [1] * length) for length in lengths}
        self._symbols, self._cells = [], []
        for reel, strip in enumerate(strips["base"], start=1):
            cells = [symbols.index(strip[(stop + 1) % len(strip)]) for stop in range(len(strip))]
            self._cells.append(cells)
            self._symbols.append(Stream(f"symbols/{reel}", [cells.count(j) for j in range(max(cells) + 1)]))
        self._streams = [*self._draws.values(), *self._symbols]
        self._bets: list[Bet] = []
        if maths in THEORIES:
            mean, variance = THEORIES[maths]
            self._bets = [Bet(f"return-high/{power}", power, mean=min(mean + 1, MILLION)) for power in HIGHS]
            self._bets += [low_bet(power, mean, variance) for power in LOWS]

    @property
    def threshold(self) -> int:
        window = max(self.rounds - 1, 0) // WINDOW
        return 21 + (len(self._streams) + len(self._bets) - 1).bit_length() + 2 * window.bit_length()

    def state(self) -> Entry:
        return {
            "bets": [bet.written() for bet in self._bets],
            "rounds": self.rounds,
            "streams": [stream.written() for stream in self._streams],
        }

    def round(self, index: int, values: list[list[int]], payout: int, stake: int) -> None:
        """Takes a round; what the house then owes is added to owed."""
        if self.rounds and self.rounds % WINDOW == 0:
            for component in [*self._streams, *self._bets]:
                component.begin()
        self.rounds += 1
        for place, (length, value) in enumerate(values):
            if length in self._draws and value < length:
                self._event(self._draws[length], value, index)
            if place < REELS and value < len(self._cells[place]):
                self._event(self._symbols[place], self._cells[place][value], index)
        for bet in self._bets:
            bet.round(payout, stake)
            self._look(bet, index)
        if self.rounds % OBSERVED == 0:
            self._owe({"type": "chance.observed", "through": index} | self.state())

    def late(self) -> bool:
        """Tells, once, that the next entry owed should have come."""
        if not self.owed or self.owed[0].late or self.rounds < self.owed[0].rounds + OBSERVED:
            return False
        self.owed[0].late = True
        return True

    def take(self, entry: Entry) -> bool:
        """Takes an entry that the house made; tells whether it is the one owed next."""
        if not self.owed:
            return False
        owed = self.owed[0].entry
        if owed["type"] == entry["type"]:
            self.owed.popleft()
        return all(entry.get(name) == value for name, value in owed.items())

    def _event(self, stream: Stream, cell: int, index: int) -> None:
        if stream.event(cell):
            self._look(stream, index)

    def _look(self, component: Stream | Bet, index: int) -> None:
        evidence = component.evidence // UNIT
        if component.alarmed or evidence < self.threshold:
            return
        component.alarmed = True
        alarm = {"evidence": evidence, "monitor": component.name, "round": index, "rounds": self.rounds}
        self._owe({"type": "chance.alarmed"} | alarm)

    def _owe(self, entry: Entry) -> None:
        self.owed.append(Owed(entry | {"game": self._game, "maths": self.maths}, self.rounds))
