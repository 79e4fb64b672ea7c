"""What deliveries to authorities share (docs/formats/deliveries.md): their form of XML, files, amounts, and the log behind.

databank.py and safe.py hold the two kinds against the log, in the order of the page.
"""

import datetime
import hashlib
import os
import re
import stat
import xml.etree.ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import canonical
import exports
import records
import tlog
from ring import Ring

FILE_MOST, TAGS_MOST, FILES_MOST, RECORDS_MOST = 32 << 20, 1 << 18, 1 << 14, 512
ZEROS = "0" * 64


class Difference(Exception):
    """What a vault has otherwise than the log, by the name of the rule."""

    def __init__(self, rule: str, where: str, expected: object, found: object = "") -> None:
        super().__init__(f"{where}: {rule}: expected {expected}, found {found}")
        self.rule, self.where, self.expected, self.found = rule, where, str(expected), str(found)


class NoLog(ValueError):
    """A log that does not allow to check."""


class Malformed(ValueError):
    """Bytes that are no file of a delivery."""


# XML

TEXT, NUMBER, SIGNED = "text", "number", "signed"
OPTIONAL_TEXT, OPTIONAL_NUMBER = "text?", "number?"  # left out when empty or 0
ONE, MAYBE, MANY = "one", "maybe", "many"

_NUMBERS = {NUMBER: re.compile("0|[1-9][0-9]{0,19}"), SIGNED: re.compile("0|-?[1-9][0-9]{0,18}")}
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)
_HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'

Value = dict[str, object]


@dataclass(frozen=True)
class Shape:
    """An element: its attributes, and then its text, or its elements: of texts and numbers, or of further shapes."""

    attributes: dict[str, str] = field(default_factory=dict)
    elements: "dict[str, str | tuple[Shape, str]]" = field(default_factory=dict)
    text: bool = False  # which is the member ""


def _read_word(kind: str, text: str | None) -> str | int:
    if kind.startswith("text"):
        return text or ""
    if kind == OPTIONAL_NUMBER:
        return _read_word(NUMBER, text or "0")
    if _NUMBERS[kind].fullmatch(text or "") is None:
        raise Malformed(f"{text!r:.40} is no number")
    return int(text)


def _read(shape: Shape, element: xml.etree.ElementTree.Element) -> Value:
    """What of an element is in its shape. What is not, and another order, show when it is written again."""
    value: Value = {name: _read_word(kind, element.get(name)) for name, kind in shape.attributes.items()}
    if shape.text:
        value[""] = element.text or ""
    for name, kind in shape.elements.items():
        found = element.findall(name)
        if isinstance(kind, str):
            value[name] = _read_word(kind, found[0].text if found else None)
            continue
        inner = [_read(kind[0], one) for one in found]
        if kind[1] == ONE and not inner:
            raise Malformed(f"no {name}")
        value[name] = inner if kind[1] == MANY else inner[0] if inner else None
    return value


def _write(shape: Shape, name: str, value: Value, depth: int) -> str:
    indent = "\t" * depth
    out = f"{indent}<{name}"
    for attribute, kind in shape.attributes.items():
        if value[attribute] or not kind.endswith("?"):
            out += f' {attribute}="{str(value[attribute]).translate(_ESCAPES)}"'
    out += ">"
    inside = ""
    for element, kind in shape.elements.items():
        of = value[element]
        if not isinstance(kind, str):
            inside += "".join(_write(kind[0], element, one, depth + 1) for one in (of if isinstance(of, list) else [of] if of else []))
        elif of or not kind.endswith("?"):
            inside += f"{indent}\t<{element}>{str(of).translate(_ESCAPES)}</{element}>\n"
    if shape.text:
        out += value[""].translate(_ESCAPES)
    return out + (f"\n{inside}{indent}" if inside else "") + f"</{name}>\n"


def read(data: bytes, name: str, shape: Shape) -> Value:
    """A file in the one form that it has. Raises Malformed."""
    if len(data) > FILE_MOST or data.count(b"<") > TAGS_MOST or b"<!" in data:
        raise Malformed("too much, or a declaration")
    try:
        root = xml.etree.ElementTree.fromstring(data)
    except (xml.etree.ElementTree.ParseError, ValueError) as err:
        raise Malformed(f"no XML: {err}") from err
    if root.tag != name:
        raise Malformed(f"{root.tag:.40} and not {name}")
    value = _read(shape, root)
    if (_HEADER + _write(shape, name, value, 0)).encode() != data:
        raise Malformed("not in the one form")
    return value


# What the kinds of deliveries share

FILE = Shape({"name": TEXT, "bytes": SIGNED, "records": SIGNED, "sha256": TEXT})
OMITTED = Shape({"type": TEXT, "count": NUMBER}, text=True)
ENTRIES = Shape({"from": NUMBER, "to": NUMBER, "size": NUMBER, "root": TEXT})

BESIDE = {
    "operation of the house": "house.active house.active.v2 house.restored house.production clock.stepped alarm.raised software.verified vault.rewrapped",
    "keys and officers of the house": "key.introduced key.retired officer.enrolled officer.retired",
    "examination of games": "rng.assessed laboratory.recognised game.certified chance.observed chance.alarmed",
    "proof of chance": "seed.committed seed.committed.v2 seed.activated seed.activated.v2 seed.closed seed.revealed seed.halted seed.ended"
    " seed.abandoned entropy.failed entropy.restored player.nonce-set",
    "a client's claim about a round that has its record": "round.displayed",
    "commitments to personal data": "subject.recorded subject.erased",
}
WHY = {kind: why for why, kinds in BESIDE.items() for kind in kinds.split()}

_PLACES = {0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF", 3: "BHD IQD JOD KWD LYD OMR TND", 4: "CLF UYW"}
PLACES = {currency: places for places, currencies in _PLACES.items() for currency in currencies.split()}


def decimal(amount: int, currency: str, places: int) -> str:
    """An amount in the unit of its currency."""
    own = PLACES.get(currency, 2)
    digits = f"{abs(amount):0{own + 1}d}"
    whole, fraction = digits[: len(digits) - own], digits[len(digits) - own :].ljust(places, "0")
    return "-" * (amount < 0) + whole + ("." + fraction if fraction else "")


def amount(text: str, currency: str, places: int) -> int:
    """The amount that was written so. Raises NoLog, since it was held against the log before."""
    whole, _, fraction = text.partition(".")
    try:
        value = int(whole + fraction[: PLACES.get(currency, 2)])
    except ValueError as err:
        raise NoLog(f"{text:.40} is no amount") from err
    if decimal(value, currency, places) != text:
        raise NoLog(f"{text:.40} is no amount in {currency}")
    return value


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folders(vault: Path, name: re.Pattern[str]) -> list[str]:
    """The deliveries of a vault, in their order."""
    names = []
    for entry in sorted(os.scandir(vault), key=lambda entry: entry.name):
        if entry.name == ".lock" or entry.name.startswith(".new-"):
            continue
        if not entry.is_dir(follow_symlinks=False) or name.fullmatch(entry.name) is None:
            raise Difference("delivery", entry.name, "deliveries and nothing else", "it")
        names.append(entry.name)
    return names


def read_file(path: Path, where: str) -> bytes:
    info = path.stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size > FILE_MOST:
        raise Difference("file", where, f"a file of at most {FILE_MOST} bytes", info.st_size)
    return path.read_bytes()


def read_listed(folder: Path, one: Value) -> bytes:
    """A file of a manifest."""
    where = f"{folder.name}/{one['name']}"
    data = read_file(folder / one["name"], where)
    if (len(data), digest(data)) != (one["bytes"], one["sha256"]):
        raise Difference("file-digest", where, f"{one['bytes']} bytes of SHA-256 {one['sha256']}", len(data))
    return data


def check_files(folder: Path, files: list[Value], want: list[str], beside: set[str]) -> None:
    """Demands the files of a delivery in their order, and no others."""
    names = [one["name"] for one in files]
    if names != want:
        raise Difference("files", folder.name, want, names)
    for name in sorted(os.listdir(folder)):
        if name not in beside and name not in names:
            raise Difference("files", folder.name, "the files of the manifest", name)


def check_listing(m: Value, form: re.Pattern[str]) -> None:
    """What every manifest has to say. Raises Malformed."""
    span, names = m["Entries"], [one["name"] for one in m["File"]]
    if not span["from"] <= span["to"] <= span["size"]:
        raise Malformed("no range of a log")
    if len(names) > FILES_MOST or len(set(names)) != len(names) or not all(map(form.fullmatch, names)):
        raise Malformed("files that a delivery does not have")


class Omissions:
    """Counts what is in no record."""

    def __init__(self) -> None:
        self.types: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, why: str) -> None:
        self.types[kind] = self.types.get(kind, (0, ""))[0] + 1, why

    def check(self, name: str, said: list[Value]) -> None:
        want = [(kind, *count) for kind, count in sorted(self.types.items())]
        if (found := [(one["type"], one["count"], one[""]) for one in said]) != want:
            raise Difference("omitted", name, want, found)


# The log


class Log:
    """A published log under its newest checkpoint, which a key of the ring has to have signed."""

    def __init__(self, source: tlog.Source, ring: Ring) -> None:
        self.ring, self.origin = ring, ring.name
        self.head = ring.open(source.read("checkpoint"))
        self.leaves = list(tlog.entries(source, self.head.size))
        self.hashes = [tlog.leaf_hash(leaf) for leaf in self.leaves]
        self._roots: dict[int, bytes] = {}
        if self._root(self.head.size) != self.head.root:
            raise NoLog("its entries do not lead to its signed root")

    def _root(self, size: int) -> bytes:
        if size not in self._roots:
            tree = tlog.Tree()
            for leaf in self.hashes[:size]:
                tree.add(leaf)
            self._roots[size] = tree.root()
        return self._roots[size]

    def under(self, folder: Path, origin: str, one: Value, span: Value) -> tlog.Checkpoint:
        """The checkpoint of a delivery: signed, of this log, and as its manifest says."""
        checkpoint = self.ring.open(read_listed(folder, one))
        if checkpoint.size > self.head.size:
            raise NoLog(f"{folder.name}: a checkpoint of {checkpoint.size} entries, of a log of {self.head.size}")
        if checkpoint.root != self._root(checkpoint.size):
            raise Difference("checkpoint", folder.name, self._root(checkpoint.size).hex(), checkpoint.root.hex())
        want = self.origin, checkpoint.size, checkpoint.root.hex()
        if want != (origin, span["size"], span["root"]):
            raise Difference("checkpoint", folder.name, want, (origin, span["size"], span["root"]))
        return checkpoint

    def entry(self, index: int) -> dict:
        if index >= self.head.size:
            raise NoLog(f"no entry {index} in a log of {self.head.size}")
        try:
            return records.read(self.leaves[index])
        except canonical.NotCanonical as err:
            raise NoLog(f"entry {index}: {err}") from err

    def entries(self, begin: int, end: int) -> Iterator[tuple[int, dict]]:
        for index in range(begin, end):
            yield index, self.entry(index)

    def before(self, instant: str) -> int:
        """How many entries are before an instant, after which there must be some."""
        for index, entry in self.entries(0, self.head.size):
            if entry["at"] >= instant:
                return index
        raise NoLog(f"no entry from {instant} on: more could come before it")

    def totals(self, begin: int, end: int) -> "Totals":
        """What a range of entries comes to, by the fold of exports."""
        totals, day, fold = Totals(), "", exports.Fold(True)
        try:
            for index, entry in self.entries(begin, end):
                if entry["at"][:10] != day:
                    if entry["at"][:10] < day:
                        raise NoLog(f"entry {index}: times that go back")
                    totals.add_certificate(day, fold)
                    day, fold = entry["at"][:10], exports.Fold(True)
                fold.take(index, entry)
        except exports.Rejected as err:
            raise NoLog(f"the log on {day}: {err}") from err
        totals.add_certificate(day, fold)
        return totals


class Totals:
    """What entries, or the records of a vault, come to for each day."""

    def __init__(self) -> None:
        self.play: dict[tuple[str, str, str], tuple[int, ...]] = {}  # by day, game and currency: rounds, stakes, payouts
        self.cash: dict[tuple[str, str], tuple[int, ...]] = {}  # by day and currency: deposits and withdrawals, count and sum

    @staticmethod
    def _add(to: dict, key: tuple, figures: tuple[int, ...]) -> None:
        to[key] = tuple(a + b for a, b in zip(to.get(key, (0,) * len(figures)), figures, strict=True))

    def add_play(self, key: tuple[str, str, str], *figures: int) -> None:
        self._add(self.play, key, figures)

    def add_cash(self, key: tuple[str, str], *figures: int) -> None:
        self._add(self.cash, key, figures)

    def add_certificate(self, day: str, fold: exports.Fold) -> None:
        certificate = fold.certificate({"checkpoint": None, "origin": None, "range": None, "span": None})
        for one in certificate["games"]:
            self.add_play((day, one["game"], one["currency"]), one["rounds"], int(one["stakes"]), int(one["payouts"]))
        for one in certificate["cash"]:
            self.add_cash(
                (day, one["currency"]), one["deposit_count"], int(one["deposits"]), one["withdrawal_count"], int(one["withdrawals"])
            )

    def reconcile(self, vault: "Totals") -> None:
        for want, found in (self.play, vault.play), (self.cash, vault.cash):
            for key in sorted(want.keys() | found.keys()):
                if want.get(key) != found.get(key):
                    raise Difference("totals", " ".join(key), want.get(key), found.get(key))


def day_after(day: str) -> str:
    """The day after one of UTC. Raises Malformed."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day) is None:
            raise ValueError
        return (datetime.date.fromisoformat(day) + datetime.timedelta(days=1)).isoformat()
    except (ValueError, OverflowError) as err:
        raise Malformed(f"{day:.40} is no day") from err


def difference(where: str, want: object, found: object) -> None:
    """Demands that a record says what its entries say."""
    if want == found:
        return
    if isinstance(want, dict) and isinstance(found, dict):
        for name in want:
            if want[name] != found.get(name):
                raise Difference("record-content", where, f"{name} {want[name]}", found.get(name))
    raise Difference("record-content", where, want, found)
