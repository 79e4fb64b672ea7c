"""Signed statements and reports (docs/formats/laboratory.md)."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable

import canonical
import ed25519
import p256

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ASSESSMENT = "urn:countroom:rng-assessment:v1"
CERTIFICATE = "urn:countroom:game-certificate:v1"
REPORT_FORMAT = "countroom/rng-report/1"
STATEMENT_MOST, REPORT_MOST, SIGNATURES_MOST = 262_144, 4_194_304, 8
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")

Verify = Callable[[bytes, bytes], bool]


def key(public: str) -> Verify | None:
    """What verifies a message and signature under a SubjectPublicKeyInfo in hex, P-256 or Ed25519."""
    if (point := p256.key_of_hex(public)) is not None:
        return lambda message, signature: p256.verify(point, message, signature)
    if not canonical.hexadecimal(len(ED25519_PREFIX) + 32)(public):
        return None
    info = bytes.fromhex(public)
    if not info.startswith(ED25519_PREFIX):
        return None
    return lambda message, signature: ed25519.verify(info[len(ED25519_PREFIX) :], message, signature)


def _object(pairs: list[tuple[str, object]]) -> dict:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _json(data: bytes) -> dict:
    value = json.loads(data, object_pairs_hook=_object)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def payload(signed: bytes, verify: Verify) -> bytes | None:
    """The payload of an envelope, or of the one in a bundle, if the key signed it."""
    try:
        if len(signed) > STATEMENT_MOST:
            return None
        envelope = _json(signed)
        if "mediaType" in envelope:
            if envelope["mediaType"] != BUNDLE_TYPE:
                return None
            envelope = envelope["dsseEnvelope"]
        if envelope["payloadType"] != PAYLOAD_TYPE or not 1 <= len(envelope["signatures"]) <= SIGNATURES_MOST:
            return None
        data = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    message = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(data), data)
    return data if any(verify(message, signature) for signature in signatures) else None


def read(data: bytes) -> dict:
    """A payload as a statement."""
    return _json(data)


def _statement(kind: str, predicate: dict, *subjects: tuple[str, str]) -> bytes:
    return canonical.write(
        {
            "_type": STATEMENT_TYPE,
            "predicate": predicate,
            "predicateType": kind,
            "subject": [{"digest": {"sha256": digest}, "name": name} for name, digest in subjects],
        }
    )


def assessment(entry: dict, origin: str) -> bytes:
    """The statement that follows from an rng.assessed."""
    predicate = {name: entry[name] for name in ("code", "configuration", "outcome", "plan")} | {"origin": origin}
    return _statement(ASSESSMENT, predicate, ("report.json", entry["report"]), ("report.html", entry["page"]))


def certificate(entry: dict) -> bytes:
    """The statement that follows from a game.certified."""
    names = "begins", "expires", "game", "laboratory", "release", "returns"
    subjects = (entry["game"], entry["maths"]), ("countroom", entry["code"])
    return _statement(CERTIFICATE, {name: entry[name] for name in names}, *subjects)


def says(report: bytes, entry: dict, origin: str) -> bool:
    """Whether a report is about this log and says what its rng.assessed says."""
    try:
        if len(report) > REPORT_MOST:
            return False
        r = _json(report)
        # A number that is no integer is written by Python as by RFC 8785, for those that stand in a plan.
        plan = hashlib.sha256(canonical.write(r["report"]["plan"])).hexdigest()
        games = [{name: game[name] for name in ("game", "maths", "release")} for game in r["games"]]
        sources = [{name: source[name] for name in ("conditioned", "name")} for source in r["sources"]]
        return (
            (r["format"], r["origin"], r["code"], r["configuration"], r["report"]["outcome"], plan)
            == (REPORT_FORMAT, origin, entry["code"], entry["configuration"], entry["outcome"], entry["plan"])
            and games == entry["games"]
            and sources == entry["sources"]
        )
    except (ValueError, KeyError, TypeError):
        return False
