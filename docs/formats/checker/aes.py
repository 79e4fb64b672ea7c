"""AES-256 in Galois/Counter Mode: FIPS 197 for the cipher, SP 800-38D for the mode. It opens, and seals nothing.

Nothing here tries to take constant time: do not run it where somebody else measures.
"""

import hmac


def _double(byte: int) -> int:
    return byte << 1 ^ (0x11B if byte & 0x80 else 0)


def _make_box() -> bytes:
    """The S-box of FIPS 197, section 5.1.1: the inverse in GF(2^8), then an affine map."""
    powers, logs, x = [], {}, 1
    for i in range(255):  # 3 generates the field's units
        powers.append(x)
        logs[x] = i
        x ^= _double(x)
    box = []
    for byte in range(256):
        inverse = powers[-logs[byte] % 255] if byte else 0
        wide = inverse * 0x101
        box.append((wide ^ wide >> 4 ^ wide >> 5 ^ wide >> 6 ^ wide >> 7 ^ 0x63) & 0xFF)
    return bytes(box)


_BOX = _make_box()


def _expand(key: bytes) -> list[bytes]:
    """The 15 round keys of a key of 32 bytes (FIPS 197, section 5.2)."""
    words, constant = [key[i : i + 4] for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        word = words[i - 1]
        if i % 8 == 0:
            word = (word[1:] + word[:1]).translate(_BOX)
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _double(constant)
        elif i % 8 == 4:
            word = word.translate(_BOX)
        words.append(_xor(word, words[i - 8]))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def _encrypt(keys: list[bytes], block: bytes) -> bytes:
    """One block (FIPS 197, section 5.1)."""
    state = _xor(block, keys[0])
    for key in keys[1:-1]:
        state = _xor(_mix(_shift(state.translate(_BOX))), key)
    return _xor(_shift(state.translate(_BOX)), keys[-1])


def _shift(state: bytes) -> bytes:
    return bytes(state[(i + i % 4 * 4) % 16] for i in range(16))


def _mix(state: bytes) -> bytes:
    out = []
    for i in range(0, 16, 4):
        column = state[i : i + 4]
        of_all = column[0] ^ column[1] ^ column[2] ^ column[3]
        out += [column[j] ^ of_all ^ _double(column[j] ^ column[(j + 1) % 4]) for j in range(4)]
    return bytes(out)


def _multiply(x: int, y: int) -> int:
    """x·y in the field of GCM (SP 800-38D, section 6.3)."""
    product = 0
    for i in reversed(range(128)):
        if x >> i & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _hash(h: int, data: bytes) -> int:
    """GHASH of whole blocks."""
    y = 0
    for i in range(0, len(data), 16):
        y = _multiply(y ^ int.from_bytes(data[i : i + 16], "big"), h)
    return y


def open_gcm(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """What was sealed, a tag of 16 bytes at its end, under a nonce of 12 bytes and without additional data."""
    if len(sealed) < 16:
        return None
    keys, ciphertext, tag = _expand(key), sealed[:-16], sealed[-16:]
    h = int.from_bytes(_encrypt(keys, bytes(16)), "big")
    hashed = ciphertext + bytes(-len(ciphertext) % 16) + (8 * len(ciphertext)).to_bytes(16, "big")
    want = _xor(_hash(h, hashed).to_bytes(16, "big"), _encrypt(keys, nonce + b"\0\0\0\1"))
    if not hmac.compare_digest(want, tag):
        return None
    blocks = (_encrypt(keys, nonce + (i + 2).to_bytes(4, "big")) for i in range((len(ciphertext) + 15) // 16))
    return _xor(ciphertext, b"".join(blocks))
