"""Verification of ECDSA signatures on P-256 with SHA-256: FIPS 186-5, SEC 1 for the key, DER for the signature.

It handles public data only, so nothing here tries to take constant time.
"""

import hashlib

import canonical

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

# A point of the curve y² = x³ - 3x + B, or None at infinity.
Point = tuple[int, int] | None

# SubjectPublicKeyInfo (RFC 5480) of an uncompressed P-256 point, up to its coordinates.
KEY_SIZE = 91
KEY_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


def _add(p: Point, q: Point) -> Point:
    if p is None:
        return q
    if q is None:
        return p
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = 3 * (p[0] * p[0] - 1) * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return (x, (slope * (p[0] - x) - p[1]) % P)


def _sum_of_multiples(u: int, p: Point, v: int, q: Point) -> Point:
    """u·p + v·q, doubling once for both."""
    addends, result = (None, p, q, _add(p, q)), None
    for bit in reversed(range(256)):
        result = _add(result, result)
        result = _add(result, addends[(u >> bit & 1) + 2 * (v >> bit & 1)])
    return result


def multiple(k: int, p: Point) -> Point:
    """k·p."""
    return _sum_of_multiples(k, p, 0, None)


def key(info: bytes) -> tuple[int, int] | None:
    """The point of a SubjectPublicKeyInfo, if it is one of P-256."""
    if len(info) != KEY_SIZE or not info.startswith(KEY_PREFIX):
        return None
    x, y = int.from_bytes(info[27:59], "big"), int.from_bytes(info[59:], "big")
    if x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P != 0:
        return None
    return (x, y)


def key_of_hex(info: str) -> tuple[int, int] | None:
    """The same of lower-case hex."""
    return key(bytes.fromhex(info)) if canonical.hexadecimal(KEY_SIZE)(info) else None


def _der_integers(data: bytes) -> tuple[int, int] | None:
    """The two positive integers of a DER SEQUENCE, if data is exactly that. All lengths are short here."""
    if len(data) < 2 or data[0] != 0x30 or data[1] != len(data) - 2 or data[1] >= 0x80:
        return None
    numbers, rest = [], data[2:]
    for _ in range(2):
        if len(rest) < 3 or rest[0] != 0x02 or not 1 <= rest[1] <= len(rest) - 2:
            return None
        number, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if number[0] >= 0x80 or (len(number) > 1 and number[0] == 0 and number[1] < 0x80):
            return None
        numbers.append(int.from_bytes(number, "big"))
    return None if rest else (numbers[0], numbers[1])


def verify(public: tuple[int, int], message: bytes, signature: bytes) -> bool:
    """Whether the DER signature over the SHA-256 of message is good under public."""
    pair = _der_integers(signature)
    if pair is None or not all(1 <= number < N for number in pair):
        return False
    r, s = pair
    inverse = pow(s, -1, N)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    point = _sum_of_multiples(digest * inverse % N, BASE, r * inverse % N, public)
    return point is not None and point[0] % N == r
