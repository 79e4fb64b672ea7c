"""X25519 (RFC 7748, sections 4.1 and 5). Nothing here tries to take constant time."""

P = 2**255 - 19
BASE = (9).to_bytes(32, "little")


def multiply(scalar: bytes, u: bytes) -> bytes:
    """The function X25519 of a scalar and a coordinate, 32 bytes each."""
    k = int.from_bytes(scalar, "little") & ~7 & 2**255 - 1 | 2**254
    x1 = int.from_bytes(u, "little") & 2**255 - 1
    x2, z2, x3, z3, swapped = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swapped ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")
