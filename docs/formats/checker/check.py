#!/usr/bin/env python3
"""A second verifier of countroom's receipts and logs, written from docs/formats alone.

    check.py receipt FILE --vkey FILE [--history FILE] [--leaf FILE]
    check.py log URL|DIR --vkey FILE [--token FILE] [--known FILE...] [--secret FILE...] [--json]
    check.py export FILE --vkey FILE [--history FILE]
    check.py vault DIR --log URL|DIR --vkey FILE [--history FILE] [--token FILE]
    check.py subjects FILE --log DIR --vkey FILE
    check.py seed open URL|DIR|FILE --key FILE... --out FILE [--vkey FILE] [--epoch N]

Exit status 0: all holds. 1: evidence against the house. 2: it could not be checked.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import canonical
import deliveries
import disclosures
import escrow
import exports
import records
import tlog
from books import Books, Finding, Restore
from databank import Databank
from ring import Receipts, Ring, answers
from safe import Safe

HOLDS, EVIDENCE, UNCHECKED = 0, 1, 2


class NotChecked(Exception):
    """Something could not be checked, which is no evidence against anybody."""


@dataclass
class Report:
    """What a log was found to be. Amounts are in minor units."""

    size: int = 0  # as signed
    root: str = ""  # as signed
    entries: int = 0  # that were read
    cosigned: dict[str, int] = field(default_factory=dict)  # witnesses that count, with their times
    rounds: int = 0
    rounds_proven: int = 0
    not_yet_provable: int = 0
    unprovable: int = 0  # of epochs that were abandoned
    epochs: dict[str, int] = field(default_factory=dict)
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        if self.findings:
            return EVIDENCE
        return UNCHECKED if self.unchecked else HOLDS


# Cosignatures


@dataclass(frozen=True)
class Trust:
    """The witnesses that count, and how many of them must have cosigned a checkpoint."""

    witnesses: tuple[tlog.WitnessKey, ...] = ()
    quorum: int = 0

    def look(self, note: bytes, size: int, report: Report) -> None:
        """Checks the cosignatures of a checkpoint that the house signed."""
        try:
            good = tlog.cosigned(note, self.witnesses)
        except tlog.FalseCosignature as err:
            report.findings.append(Finding(size, "cosignature", str(err)))
            return
        report.cosigned.update(good)
        if len(good) < self.quorum:
            report.unchecked.append(f"{len(good)} of {self.quorum} cosignatures: only the house says that there is one history")


# Receipts


def prove(receipt: tlog.Receipt, leaf: bytes, keys: Ring) -> tuple[tlog.Checkpoint, Finding | None]:
    """The checkpoint of a receipt and what is wrong with it. Raises tlog.NotSigned and tlog.Malformed."""
    checkpoint = keys.open(receipt.note)
    if not receipt.proves(tlog.leaf_hash(leaf), checkpoint):
        return checkpoint, Finding(receipt.index, "inclusion", checkpoint.root.hex())
    return checkpoint, None


def check_receipt(data: bytes, leaf: bytes | None, keys: Ring, trust: Trust = Trust()) -> Report:
    """Checks a saved answer, or a bare receipt and its leaf."""
    report = Report()
    pairs = answers(data) if leaf is None else [(tlog.Receipt.parse(data), leaf)]
    if not pairs:
        raise NotChecked("no leaf and receipt")
    for receipt, leaf in pairs:
        try:
            checkpoint, finding = prove(receipt, leaf, keys)
        except tlog.Stranger as err:
            raise NotChecked(f"receipt: signed by another key than {err}: a history would lead to it, if the house exchanged its key") from err
        except tlog.NotSigned as err:
            report.findings.append(Finding(receipt.index, "checkpoint-signature", str(err)))
            continue
        if finding is not None:
            report.findings.append(finding)
            continue
        report.size, report.root = checkpoint.size, checkpoint.root.hex()
        report.entries += 1
        trust.look(receipt.note, checkpoint.size, report)
        try:
            records.read(leaf)
        except canonical.NotCanonical as err:
            report.findings.append(Finding(receipt.index, "canonical", str(err)))
        except records.UnknownType as err:
            report.unchecked.append(f"entry {receipt.index}: a type {err} that is not known")
    return report


# Logs


@dataclass(frozen=True)
class Kept:
    """What somebody outside kept: a checkpoint, and with a receipt also an entry's hash.

    Where the key at hand did not sign it, the log has to lead to a key that signed its note.
    """

    checkpoint: tlog.Checkpoint
    index: int = -1
    leaf: bytes = b""
    note: bytes = b""


def read_kept(path: str, key: tlog.VerifierKey) -> list[Kept]:
    """The checkpoint or the answers in a file. Raises NotChecked for what the house's key does not vouch for."""
    data = Path(path).read_bytes()
    try:
        if not data.lstrip().startswith((b"{", b"[")):
            checkpoint, note = _open_kept(data, key)
            return [Kept(checkpoint, note=note)]
        kept = []
        for receipt, leaf in answers(data):
            checkpoint, note = _open_kept(receipt.note, key)
            if not receipt.proves(tlog.leaf_hash(leaf), checkpoint):
                raise NotChecked(f"{path}: its hashes do not lead to its root")
            kept.append(Kept(checkpoint, receipt.index, tlog.leaf_hash(leaf), note))
    except tlog.NotSigned as err:
        raise NotChecked(f"{path}: not signed by {err}") from err
    except ValueError as err:
        raise NotChecked(f"{path}: {err}") from err
    if not kept:
        raise NotChecked(f"{path}: no leaf and receipt")
    return kept


def _open_kept(note: bytes, key: tlog.VerifierKey) -> tuple[tlog.Checkpoint, bytes]:
    """A kept checkpoint, and its note where the log has to lead to the key that signed it."""
    try:
        return tlog.Checkpoint.open(note, key), b""
    except tlog.Stranger:
        return tlog.Checkpoint.peek(note, key), note


@dataclass(frozen=True)
class Mismatch:
    """What was kept is not what the log has."""

    kept: Kept
    finding: Finding


def check_log(
    source: tlog.Source, key: tlog.VerifierKey, kept: list[Kept], trust: Trust = Trust(), boxes: Sequence[escrow.Box] = ()
) -> Report:
    """Checks a whole log and holds it against what was kept, and against seeds that others opened."""
    return _check_log(source, key, kept, trust, Books(key, lambda path: _blob(source, path), boxes))


def _check_log(source: tlog.Source, key: tlog.VerifierKey, kept: list[Kept], trust: Trust, books: Books) -> Report:
    report = Report()
    mismatches: list[Mismatch] = []
    stranger = False
    try:
        note = source.read("checkpoint")
        try:
            checkpoint = tlog.Checkpoint.open(note, key)
        except tlog.Stranger:
            stranger, checkpoint = True, tlog.Checkpoint.peek(note, key)
        report.size, report.root = checkpoint.size, checkpoint.root.hex()
        trust.look(note, checkpoint.size, report)
        for item in kept:
            if item.checkpoint.size > checkpoint.size:
                expected = f"{item.checkpoint.size} entries"
                mismatches.append(Mismatch(item, Finding(checkpoint.size, "log-shorter", expected)))
        tree = tlog.Tree()
        _compare_roots(tree, kept, mismatches)
        for leaf in tlog.entries(source, checkpoint.size):
            books.take(leaf, tree.root)
            leaf_hash = tlog.leaf_hash(leaf)
            _compare_leaves(tree.size, leaf_hash, kept, mismatches)
            tree.add(leaf_hash)
            _compare_roots(tree, kept, mismatches)
            report.entries = tree.size
        if tree.root() != checkpoint.root:
            report.findings.append(Finding(tree.size, "signed-root", checkpoint.root.hex()))
        for index, path in tlog.different_hashes(source, tree):
            report.findings.append(Finding(index, "tile", f"in {path} the hash that the entries have"))
        if not _signed(note, checkpoint, key, books, stranger):
            if books.unread:
                return Report(unchecked=["whether the log leads to the key that signed it: an entry is of an unknown type"])
            return _unsigned(key)
        mismatches = _vouched(mismatches, kept, books, report)
    except tlog.NotSigned:
        return _unsigned(key)
    except (tlog.Unavailable, tlog.Malformed) as err:
        if stranger:
            return Report(unchecked=[f"whether the log leads to the key that signed it: {err}"])
        report.unchecked.append(str(err))
    _sum_up(books, report)
    report.findings = sorted(
        [*report.findings, *books.findings, *settle(mismatches, report.size, books.restores)],
        key=lambda finding: finding.index,
    )
    return report


def _unsigned(key: tlog.VerifierKey) -> Report:
    """The report of a log that nobody vouches for: anybody could have made it."""
    finding = Finding(0, "checkpoint-signature", f"a signature of {key.name}, or of a key the log leads to")
    return Report(findings=[finding], unchecked=["the entries: no signed checkpoint says which they are"])


def _opens(note: bytes, public: str) -> bool:
    """Whether the key signed the note."""
    try:
        tlog.Checkpoint.open(note, tlog.VerifierKey.parse(public))
    except (tlog.NotSigned, tlog.Malformed):
        return False
    return True


def _signed(
    note: bytes, checkpoint: tlog.Checkpoint, key: tlog.VerifierKey, books: Books, stranger: bool
) -> bool:
    """Holds the signatures of the log's checkpoint against the keys that the log leads to."""
    ours = key.text in books.checkpoint_keys()
    in_force = books.checkpoint_keys(checkpoint.size)
    missing = [public for public in in_force if not _opens(note, public)]
    if stranger and not (ours and len(missing) < len(in_force)):
        return False
    if books.unread:
        return True
    if not ours:
        books.findings.append(Finding(0, "checkpoint-key", key.text))
        return True
    for public in missing:
        books.findings.append(Finding(checkpoint.size, "checkpoint-signature", public))
    return True


def _vouched(mismatches: list[Mismatch], kept: list[Kept], books: Books, report: Report) -> list[Mismatch]:
    """The mismatches of what a key in force signed. The rest is no evidence, since anybody could have made it."""
    for item in kept:
        if item.note == b"" or any(_opens(item.note, key) for key in books.checkpoint_keys(item.checkpoint.size)):
            continue
        report.unchecked.append(f"what was kept of size {item.checkpoint.size}: no key of the log signed it")
        mismatches = [mismatch for mismatch in mismatches if mismatch.kept != item]
    return mismatches


def _blob(source: tlog.Source, path: str) -> bytes | None:
    try:
        return source.read(path)
    except tlog.Unavailable:
        return None


def _compare_roots(tree: tlog.Tree, kept: list[Kept], mismatches: list[Mismatch]) -> None:
    for item in kept:
        if item.checkpoint.size == tree.size and item.checkpoint.root != tree.root():
            mismatches.append(Mismatch(item, Finding(tree.size, "fork", item.checkpoint.root.hex())))


def _compare_leaves(index: int, leaf_hash: bytes, kept: list[Kept], mismatches: list[Mismatch]) -> None:
    for item in kept:
        if item.index == index and item.leaf != leaf_hash:
            mismatches.append(Mismatch(item, Finding(index, "receipt-leaf", item.leaf.hex())))


def settle(mismatches: list[Mismatch], size: int, restores: list[Restore]) -> list[Finding]:
    """Names those mismatches rolled-back that a restore gives the reason for; of a lost entry only that."""
    findings, told = [], set()
    for kept, finding in ((item.kept, item.finding) for item in mismatches):
        lost = kept.leaf and (finding.rule == "receipt-leaf" or kept.index >= size)
        if lost and any(restore.size <= kept.index for restore in restores):
            findings.append(Finding(kept.index, "rolled-back", kept.leaf.hex()))
            told.add(kept)
    for kept, finding in ((item.kept, item.finding) for item in mismatches if item.kept not in told):
        gone = finding.rule != "receipt-leaf" and any(restore.size < kept.checkpoint.size for restore in restores)
        findings.append(Finding(finding.index, "rolled-back", finding.expected) if gone else finding)
    return findings


def _sum_up(books: Books, report: Report) -> None:
    books.finish()
    report.rounds, report.rounds_proven = books.rounds, books.rounds_proven
    report.not_yet_provable, report.unprovable = books.rounds_unproven, books.rounds_unprovable
    report.epochs = books.epochs
    report.totals = {currency: dict(sorted(amounts.items())) for currency, amounts in sorted(books.totals.items())}
    report.warnings += books.warnings
    report.unchecked += books.unchecked


# The command


def print_report(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(report) | {"status": report.status}, indent=1))
        return
    print(f"{report.entries} entries, size {report.size}, root {report.root}")
    if report.rounds:
        print(f"{report.rounds} rounds, {report.rounds_proven} proven, {report.not_yet_provable} not yet provable")
    if report.unprovable:
        print(f"{report.unprovable} rounds UNPROVABLE for ever")
    for currency, amounts in report.totals.items():
        print(f"{currency}: " + ", ".join(f"{name} {amount}" for name, amount in amounts.items()))
    for warning in report.warnings:
        print(f"warning: {warning}")
    for what in report.unchecked:
        print(f"not checked: {what}")
    for finding in report.findings:
        print(f"{finding.index} breaks {finding.rule}: expected {finding.expected}")
    print({HOLDS: "OK", EVIDENCE: "EVIDENCE AGAINST THE HOUSE", UNCHECKED: "NOT CHECKED"}[report.status])


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Checks a receipt or a log of countroom.")
    commands = parser.add_subparsers(required=True, dest="command")
    receipt = commands.add_parser("receipt", help="check a saved answer")
    receipt.add_argument("file")
    receipt.add_argument("--leaf", metavar="FILE", help="the entry that FILE, a bare receipt, is for")
    log = commands.add_parser("log", help="check a whole log")
    log.add_argument("source", metavar="URL|DIR")
    log.add_argument("--token", metavar="FILE", help="bearer token of a regulator or auditor")
    log.add_argument("--known", metavar="FILE", nargs="+", default=[], help="checkpoints and answers that were kept")
    log.add_argument("--secret", metavar="FILE", nargs="+", default=[], help="seeds that others opened")
    export = commands.add_parser("export", help="check an export")
    export.add_argument("file")
    export.add_argument("--vkey", metavar="FILE", required=True, help="the house's verifier key")
    subjects = commands.add_parser("subjects", help="check what a house shows of people")
    subjects.add_argument("file")
    subjects.add_argument("--log", metavar="DIR", required=True, help="the log that has the commitments")
    subjects.add_argument("--vkey", metavar="FILE", required=True, help="the house's verifier key")
    seed = commands.add_parser("seed", help="take layers off an escrowed seed")
    seed.add_argument("what", choices=["open"])
    seed.add_argument("source", metavar="URL|DIR|FILE", help="a log, an answer about the epoch, or what was handed on")
    seed.add_argument("--key", metavar="FILE", nargs="+", required=True, help="private keys, the outer one first")
    seed.add_argument("--out", metavar="FILE", required=True, help="to be written")
    seed.add_argument("--vkey", metavar="FILE", help="the house's verifier key, with a log or an answer")
    seed.add_argument("--token", metavar="FILE", help="bearer token of a regulator or auditor")
    seed.add_argument("--epoch", metavar="N", type=int, help="the epoch, with a log")
    vault = commands.add_parser("vault", help="hold an authority's vault against its log")
    vault.add_argument("vault", metavar="DIR")
    vault.add_argument("--log", metavar="URL|DIR", required=True, help="the log that the vault is of")
    vault.add_argument("--vkey", metavar="FILE", required=True, help="the house's verifier key")
    vault.add_argument("--token", metavar="FILE", help="bearer token of a regulator or auditor")
    for command in (receipt, export, vault):
        command.add_argument("--history", metavar="FILE", help="what leads from the key to those that came after it")
    for command in (receipt, log):
        command.add_argument("--vkey", metavar="FILE", required=True, help="the house's verifier key")
        command.add_argument("--witness", metavar="VKEY", nargs="+", default=[], help="keys of witnesses that count")
        command.add_argument("--quorum", metavar="N", type=int, default=0, help="how many of them must have cosigned")
        command.add_argument("--json", action="store_true", help="write the report as JSON")
    return parser.parse_args(arguments)


def _key(options: argparse.Namespace) -> tlog.VerifierKey:
    return tlog.VerifierKey.parse(Path(options.vkey).read_text(encoding="utf-8").strip())


def _history(options: argparse.Namespace) -> Receipts:
    return answers(Path(options.history).read_bytes()) if options.history else []


def _ring(options: argparse.Namespace) -> Ring:
    ring = Ring(_key(options))
    if options.history:
        ring.follow(_history(options))
    return ring


def _source(options: argparse.Namespace, where: str) -> tlog.Source:
    if not where.startswith(("http://", "https://")):
        return tlog.Directory(where)
    return tlog.House(where, Path(options.token).read_text(encoding="ascii").strip() if options.token else "")


def check_export(options: argparse.Namespace) -> int:
    """Checks an export, and says what it holds or why it is none."""
    try:
        found = exports.check(Path(options.file).read_bytes(), _key(options), _history(options))
    except exports.Rejected as err:
        print(json.dumps({"rule": err.rule, "evidence": err.evidence, "why": str(err)[:500]}))
        return EVIDENCE if err.evidence else UNCHECKED
    print(json.dumps(asdict(found)))
    return HOLDS


def check_vault(options: argparse.Namespace) -> int:
    """Holds an authority's vault against its log."""
    vault = Path(options.vault)
    log = deliveries.Log(_source(options, options.log), _ring(options))
    kind = Databank if any(path.name.startswith("delivery-") for path in vault.iterdir()) else Safe
    try:
        print(json.dumps(kind(log, vault).check()))
    except deliveries.Difference as err:
        print(json.dumps({"rule": err.rule, "where": err.where, "expected": err.expected[:500], "found": err.found[:500]}))
        return EVIDENCE
    return HOLDS


def open_seed(options: argparse.Namespace) -> int:
    """Takes layers off an escrowed seed, and holds it against its commitment when none is left."""
    box = _box(options)
    try:
        for path in options.key:
            box = box.take(escrow.read_key(Path(path).read_bytes()))
        if box.layers == 0:
            box.secret()
    except escrow.NotCommitted as err:
        print(f"EVIDENCE AGAINST THE HOUSE, or whoever handed the file on: {err}")
        return EVIDENCE
    with open(os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(box.write())
    print(f"next is key {box.recipients[box.layers - 1]}" if box.layers else "OPEN: the secret is the one that was committed to")
    return HOLDS


def _box(options: argparse.Namespace) -> escrow.Box:
    """The escrowed seed: of a log, of an answer about its epoch, or as somebody before left it."""
    if options.source.startswith(("http://", "https://")) or Path(options.source).is_dir():
        if options.vkey is None or options.epoch is None:
            raise NotChecked("seed open: --vkey and --epoch are needed with a log")
        key, source = _key(options), _source(options, options.source)
        books = Books(key, lambda path: _blob(source, path))
        report = _check_log(source, key, [], Trust(), books)
        if report.size == 0 or options.epoch not in books.escrowed:
            raise NotChecked(f"epoch {options.epoch}: no signed log that has an escrowed seed of it")
        for what in [f"breaks {finding.rule}" for finding in report.findings] + report.unchecked:
            print(f"warning: the log: {what}", file=sys.stderr)
        return books.escrowed[options.epoch]
    data = Path(options.source).read_bytes()
    if data.startswith(b'{"commitment":'):
        box = escrow.Box.read(data)
        if options.epoch not in (None, box.epoch):
            raise NotChecked(f"{options.source}: of epoch {box.epoch}")
        return box
    if options.vkey is None:
        raise NotChecked("seed open: --vkey is needed with a saved answer")
    ring = Ring(_key(options))
    for receipt, leaf in answers(data):
        checkpoint, finding = prove(receipt, leaf, ring)
        entry = records.read(leaf)
        if finding is not None:
            raise NotChecked(f"{options.source}: its hashes do not lead to its root at size {checkpoint.size}")
        if entry["type"] == "seed.committed.v2" and options.epoch in (None, entry["epoch"]):
            if (box := escrow.Box.of(ring.name, entry)) is not None:
                return box
    raise NotChecked(f"{options.source}: no escrowed seed is in it")


def check_subjects(options: argparse.Namespace) -> int:
    """Holds what a house shows of people against its log, and says how many commitments came to what."""
    key = _key(options)
    source = tlog.Directory(options.log)
    books = Books(key, lambda path: _blob(source, path))
    report = _check_log(source, key, [], Trust(), books)
    if report.findings or [what for what in report.unchecked if not what.startswith("UNPROVABLE")]:
        print_report(report, False)
        return report.status
    found = disclosures.check(Path(options.file).read_bytes(), books.commitments, books.erased)
    print(json.dumps(found))
    return EVIDENCE if found["missing"] + found["false"] + found["not_erased"] else HOLDS


def run(options: argparse.Namespace) -> Report:
    trust = Trust(tuple(tlog.WitnessKey.parse(text) for text in options.witness), options.quorum)
    if options.command == "receipt":
        leaf = Path(options.leaf).read_bytes() if options.leaf else None
        return check_receipt(Path(options.file).read_bytes(), leaf, _ring(options), trust)
    key = _key(options)
    kept = [item for path in options.known for item in read_kept(path, key)]
    boxes = [escrow.Box.read(Path(path).read_bytes()) for path in options.secret]
    return check_log(_source(options, options.source), key, kept, trust, boxes)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        if options.command == "export":
            return check_export(options)
        if options.command == "subjects":
            return check_subjects(options)
        if options.command == "seed":
            return open_seed(options)
        if options.command == "vault":
            return check_vault(options)
        report = run(options)
    except (OSError, ValueError, NotChecked, records.UnknownType, tlog.NotSigned, tlog.Unavailable) as err:
        print(f"not checked: {err}", file=sys.stderr)
        return UNCHECKED
    print_report(report, options.json)
    return report.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
