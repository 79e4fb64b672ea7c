"""A game of engine slots: its definition, and the round that follows from it and a draw (docs/formats/slots.md)."""

import itertools

import canonical
import records
from canonical import INTEGER_MOST, below, integer, items, members, pattern, text
from chance import Words

FORMAT = "countroom/slots/1"
REELS, ROWS = 5, 3
STAKE_MOST = 1_000_000_000
DEFINITION_MOST = 32_768

_five = items(integer, REELS, REELS)
_name = pattern(r"[a-z0-9][a-z0-9-]{0,31}")
_strips = items(items(_name, 3, 256), REELS, REELS)
_numbers = pattern(r"(?:0|[1-9][0-9]{0,4})(?:\.(?:0|[1-9][0-9]{0,4})){2}")


def _version(value: object) -> bool:
    return _numbers(value) and all(int(number) <= 65_535 for number in value.split("."))


_SHAPE = members(
    {
        "format": text(64),
        "free_spins": members({"awards": _five, "maximum": below(101), "multiplier": integer}),
        "id": _name,
        "lines": items(items(below(ROWS), REELS, REELS), 1, 32),
        "max_win": integer,
        "name": pattern(r"[ !#-\[\]-~]{1,64}"),
        "stakes": items(integer, 1, 16),
        "strips": members({"base": _strips, "free": _strips}),
        "symbols": items(members({"name": _name, "pays": _five, "role": text(16)}), 3, 16),
        "version": _version,
    }
)

Outcome = dict[str, object]


class NotPlayable(ValueError):
    """A definition that is not one of its format."""


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise NotPlayable(what)


class Game:
    """A definition that can be played."""

    def __init__(self, definition: object) -> None:
        """Raises NotPlayable."""
        if not isinstance(definition, dict) or not _SHAPE(definition):
            raise NotPlayable("the members of the format")
        _demand(len(canonical.write(definition)) <= DEFINITION_MOST, "at most 32,768 bytes")
        _demand(definition["format"] == FORMAT, f"format {FORMAT}")
        self.id: str = definition["id"]
        self.version: str = definition["version"]
        self.lines: list[list[int]] = definition["lines"]
        self.stakes: list[int] = definition["stakes"]
        self.max_win: int = definition["max_win"]
        self.awards: list[int] = definition["free_spins"]["awards"]
        self.free_most: int = definition["free_spins"]["maximum"]
        self.multiplier: int = definition["free_spins"]["multiplier"]
        self._read_symbols(definition["symbols"])
        self._base = self._strips(definition["strips"]["base"])
        self._free = self._strips(definition["strips"]["free"])
        _demand(all(a != b for a, b in itertools.combinations(self.lines, 2)), "no two equal lines")
        _demand(1 <= self.max_win <= 100_000, "max_win from 1 to 100,000")
        _demand(1 <= self.multiplier <= 100, "multiplier from 1 to 100")
        _demand(_rising(self.awards, self.free_most), "awards that never fall, up to the maximum")
        _demand(all(a < b for a, b in itertools.pairwise(self.stakes)), "ascending stakes")
        _demand(
            all(1 <= stake <= STAKE_MOST and stake % len(self.lines) == 0 for stake in self.stakes),
            "stakes up to 1,000,000,000, multiples of the lines",
        )
        highest = max(self.max_win, self.multiplier * (self._line_pay_most() + self.pays[self.scatter][5]))
        _demand(highest * self.stakes[-1] <= INTEGER_MOST, "no pay above 2^53-1")

    def _read_symbols(self, symbols: list[dict]) -> None:
        """Symbols are numbers from here on: their places in the definition."""
        self.names = [symbol["name"] for symbol in symbols]
        self.pays = [[0, *symbol["pays"]] for symbol in symbols]  # by count, from 0
        roles = [symbol["role"] for symbol in symbols]
        _demand(len(set(self.names)) == len(self.names), "names that differ")
        _demand(set(roles) <= {"line", "wild", "scatter"}, "roles line, wild, scatter")
        _demand(roles.count("wild") == 1 and roles.count("scatter") == 1, "one wild and one scatter")
        _demand(all(_rising(pays, 100_000) for pays in self.pays), "pays that never fall, up to 100,000")
        self.wild, self.scatter = roles.index("wild"), roles.index("scatter")

    def _strips(self, strips: list[list[str]]) -> list[list[list[int]]]:
        """For each reel and stop the three symbols in view."""
        _demand(all(name in self.names for strip in strips for name in strip), "strips of the game's symbols")
        numbers = [[self.names.index(name) for name in strip] for strip in strips]
        rings = [strip + strip[: ROWS - 1] for strip in numbers]
        return [[ring[stop : stop + ROWS] for stop in range(len(ring) - ROWS + 1)] for ring in rings]

    # A round

    def play(self, r: bytes, stake: int) -> tuple[list[list[int]], Outcome, int]:
        """The values drawn from r, the outcome and the payout."""
        words, values, spins = Words(r), [], []
        payout = awarded = played = 0
        while True:
            windows = self._base if played == 0 else self._free
            stops = [words.integer(len(reel)) for reel in windows]
            values += [[len(reel), stop] for reel, stop in zip(windows, stops)]
            view = [reel[stop] for reel, stop in zip(windows, stops)]
            spin = self._spin(view, stake, 1 if played == 0 else self.multiplier)
            payout += spin["pay"]
            award = self.awards[min(spin["scatters"], 5) - 1] if spin["scatters"] else 0
            award = min(award, self.free_most - awarded)
            awarded += award
            spins.append(spin | {"awarded": award, "stops": stops})
            if payout >= self.max_win * stake:
                return values, {"capped": True, "spins": spins}, self.max_win * stake
            if played == awarded:
                return values, {"capped": False, "spins": spins}, payout
            played += 1

    def screens(self, values: list[list[int]]) -> list[list[list[str]]]:
        """What a player sees of the spins that drew values: reel by reel the three symbols from the top."""
        spins = [values[i : i + 5] for i in range(0, len(values), 5)]
        return [
            [[self.names[symbol] for symbol in reel[stop]] for reel, (_, stop) in zip(windows, spin)]
            for windows, spin in zip(itertools.chain([self._base], itertools.repeat(self._free)), spins)
        ]

    def _spin(self, view: list[list[int]], stake: int, multiplier: int) -> dict:
        """Pay, scatters and wins of the symbols in view (reel by reel)."""
        scatters = sum(reel.count(self.scatter) for reel in view)
        pay = self.pays[self.scatter][min(scatters, 5)] * stake * multiplier
        wins = []
        for number, line in enumerate(self.lines, 1):
            symbol, count = self._line([view[reel][line[reel]] for reel in range(REELS)])
            if amount := self.pays[symbol][count] * (stake // len(self.lines)) * multiplier:
                wins.append({"count": count, "line": number, "pay": amount, "symbol": self.names[symbol]})
                pay += amount
        return {"pay": pay, "scatters": scatters, "wins": wins}

    def _line(self, cells: list[int]) -> tuple[int, int]:
        """The symbol and the count of a line's one win."""
        wilds = 0
        while wilds < REELS and cells[wilds] == self.wild:
            wilds += 1
        if wilds == REELS or cells[wilds] == self.scatter:
            return self.wild, wilds
        symbol, count = cells[wilds], wilds
        while count < REELS and cells[count] in (symbol, self.wild):
            count += 1
        if self.pays[self.wild][wilds] > self.pays[symbol][count]:
            return self.wild, wilds
        return symbol, count

    # Bounds

    def payout_most(self) -> int:
        return self.max_win * self.stakes[-1]

    def draws_most(self) -> int:
        """Integers of a round."""
        return REELS * self._spins_most()

    def leaf_most(self) -> int:
        """Bytes of the longest round.settled that the game could need."""
        spins = self._spins_most()
        far = {"amount": -INTEGER_MOST, "balance": -INTEGER_MOST, "currency": "EUR"}
        near = {"amount": INTEGER_MOST, "currency": "EUR"}
        player, uuid = "0" * 32, "00000000-0000-4000-8000-000000000000"
        entry = {
            "actor": f"session/{uuid}",
            "at": "1970-01-01T00:00:00.000000Z",
            "draw": {
                "epoch": INTEGER_MOST,
                "n": INTEGER_MOST,
                "number": INTEGER_MOST,
                "r": "0" * 64,
                "step": INTEGER_MOST,
                "values": [[2**32 - 1, 2**32 - 1]] * (REELS * spins),
            },
            "enabled": INTEGER_MOST,
            "game": self.id,
            "id": uuid,
            "outcome": {"capped": False, "spins": [self._longest_spin()] * spins},
            "payout": near,
            "player": player,
            "postings": [
                far | {"account": f"house/games/{self.id}"},
                far | {"account": f"player/{player}/cash"},
            ],
            "stake": near,
            "type": "round.settled",
        }
        return len(canonical.write(entry | records.NO_REQUEST))

    def _longest_spin(self) -> dict:
        win = {
            "count": 5,
            "line": len(self.lines),
            "pay": self._line_pay_most() * self.stakes[-1] // len(self.lines) * self.multiplier,
            "symbol": max(self.names, key=len),
        }
        wins = max(self._wins_most(self._base), self._wins_most(self._free))
        return {
            "awarded": self.free_most,
            "pay": wins * win["pay"] + self.pays[self.scatter][5] * self.stakes[-1] * self.multiplier,
            "scatters": REELS * ROWS,
            "stops": [max(len(base), len(free)) - 1 for base, free in zip(self._base, self._free)],
            "wins": [win] * wins,
        }

    def _line_pay_most(self) -> int:
        """In line bets."""
        return max(pays[5] for symbol, pays in enumerate(self.pays) if symbol != self.scatter)

    def _spins_most(self) -> int:
        """The most spins of a round. If free spins award any, they go on to the maximum."""
        first, more = self._award_most(self._base), self._award_most(self._free)
        return 1 + (self.free_most if first and more else first)

    def _award_most(self, windows: list[list[list[int]]]) -> int:
        scatters = sum(max(view.count(self.scatter) for view in reel) for reel in windows)
        return self.awards[min(scatters, 5) - 1] if scatters else 0

    def _wins_most(self, windows: list[list[list[int]]]) -> int:
        """The most lines on which some symbol is alive on reels 1 to 3, over all stops of these."""
        # What is alive after any stops of the reels so far: a bit for each line and symbol.
        alive = {(1 << 16 * len(self.lines)) - 1}
        for reel in range(3):
            views = {self._alive(view, reel) for view in windows[reel]}
            alive = {before & view for before in alive for view in views}
        return max(sum(1 for line in range(len(self.lines)) if bits >> 16 * line & 0xFFFF) for bits in alive)

    def _alive(self, view: list[int], reel: int) -> int:
        """For each line the symbols that it may yet pay for with this view of the reel (from 0)."""
        by_row = [0] * ROWS
        for symbol, pays in enumerate(self.pays):
            begins = next((count for count in range(1, 6) if pays[count]), None)
            if symbol == self.scatter or begins is None:
                continue
            for row, cell in enumerate(view):
                if reel >= begins or cell in (symbol, self.wild):
                    by_row[row] |= 1 << symbol
        return sum(by_row[rows[reel]] << 16 * line for line, rows in enumerate(self.lines))


def _rising(numbers: list[int], most: int) -> bool:
    return 0 <= numbers[0] and numbers[-1] <= most and all(a <= b for a, b in itertools.pairwise(numbers))
