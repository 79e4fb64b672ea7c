"""BLS signatures on BLS12-381 with signatures in G1: hashing to the curve after RFC 9380, and the pairing.

It handles public data only, so nothing here tries to take constant time. Elements of the
quadratic field are pairs (a, b) for a + b·u with u² = -1; elements of the field of degree 12
are six of them, the coefficients of powers of w with w⁶ = 1 + u.
"""

import hashlib

P = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
R = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
Z_OF_CURVE = 0xD201000000010000  # the parameter of the curve is its negative

Fp2 = tuple[int, int]
Fp12 = tuple[Fp2, ...]
Point1 = tuple[int, int] | None  # None is the point at infinity
Point2 = tuple[Fp2, Fp2]

# RFC 9380, section 8.8.1 and appendix E.2: the isogenous curve and the map from it, coefficients from x^0 up.
A = 0x144698A3B8E9433D693A02C96D4982B0EA985383EE66A8D8E8981AEFD881AC98936F8DA0E0F97F5CF428082D584C1D
B = 0x12E2908D11688030018B12E8753EEE3B2016C1F0F24F4070A0B9C14FCEF35EF55A23215A316CEAA5D1CC48E98E172BE0
Z = 11
COFACTOR = 0xD201000000010001

X_NUM = (
    0x11a05f2b1e833340b809101dd99815856b303e88a2d7005ff2627b56cdb4e2c85610c2d5f2e62d6eaeac1662734649b7,
    0x17294ed3e943ab2f0588bab22147a81c7c17e75b2f6a8417f565e33c70d1e86b4838f2a6f318c356e834eef1b3cb83bb,
    0x0d54005db97678ec1d1048c5d10a9a1bce032473295983e56878e501ec68e25c958c3e3d2a09729fe0179f9dac9edcb0,
    0x1778e7166fcc6db74e0609d307e55412d7f5e4656a8dbf25f1b33289f1b330835336e25ce3107193c5b388641d9b6861,
    0x0e99726a3199f4436642b4b3e4118e5499db995a1257fb3f086eeb65982fac18985a286f301e77c451154ce9ac8895d9,
    0x1630c3250d7313ff01d1201bf7a74ab5db3cb17dd952799b9ed3ab9097e68f90a0870d2dcae73d19cd13c1c66f652983,
    0x0d6ed6553fe44d296a3726c38ae652bfb11586264f0f8ce19008e218f9c86b2a8da25128c1052ecaddd7f225a139ed84,
    0x17b81e7701abdbe2e8743884d1117e53356de5ab275b4db1a682c62ef0f2753339b7c8f8c8f475af9ccb5618e3f0c88e,
    0x080d3cf1f9a78fc47b90b33563be990dc43b756ce79f5574a2c596c928c5d1de4fa295f296b74e956d71986a8497e317,
    0x169b1f8e1bcfa7c42e0c37515d138f22dd2ecb803a0c5c99676314baf4bb1b7fa3190b2edc0327797f241067be390c9e,
    0x10321da079ce07e272d8ec09d2565b0dfa7dccdde6787f96d50af36003b14866f69b771f8c285decca67df3f1605fb7b,
    0x06e08c248e260e70bd1e962381edee3d31d79d7e22c837bc23c0bf1bc24c6b68c24b1b80b64d391fa9c8ba2e8ba2d229,
)
X_DEN = (
    0x08ca8d548cff19ae18b2e62f4bd3fa6f01d5ef4ba35b48ba9c9588617fc8ac62b558d681be343df8993cf9fa40d21b1c,
    0x12561a5deb559c4348b4711298e536367041e8ca0cf0800c0126c2588c48bf5713daa8846cb026e9e5c8276ec82b3bff,
    0x0b2962fe57a3225e8137e629bff2991f6f89416f5a718cd1fca64e00b11aceacd6a3d0967c94fedcfcc239ba5cb83e19,
    0x03425581a58ae2fec83aafef7c40eb545b08243f16b1655154cca8abc28d6fd04976d5243eecf5c4130de8938dc62cd8,
    0x13a8e162022914a80a6f1d5f43e7a07dffdfc759a12062bb8d6b44e833b306da9bd29ba81f35781d539d395b3532a21e,
    0x0e7355f8e4e667b955390f7f0506c6e9395735e9ce9cad4d0a43bcef24b8982f7400d24bc4228f11c02df9a29f6304a5,
    0x0772caacf16936190f3e0c63e0596721570f5799af53a1894e2e073062aede9cea73b3538f0de06cec2574496ee84a3a,
    0x14a7ac2a9d64a8b230b3f5b074cf01996e7f63c21bca68a81996e1cdf9822c580fa5b9489d11e2d311f7d99bbdcc5a5e,
    0x0a10ecf6ada54f825e920b3dafc7a3cce07f8d1d7161366b74100da67f39883503826692abba43704776ec3a79a1d641,
    0x095fc13ab9e92ad4476d6e3eb3a56680f682b4ee96f7d03776df533978f31c1593174e4b4b7865002d6384d168ecdd0a,
    1,
)
Y_NUM = (
    0x090d97c81ba24ee0259d1f094980dcfa11ad138e48a869522b52af6c956543d3cd0c7aee9b3ba3c2be9845719707bb33,
    0x134996a104ee5811d51036d776fb46831223e96c254f383d0f906343eb67ad34d6c56711962fa8bfe097e75a2e41c696,
    0x00cc786baa966e66f4a384c86a3b49942552e2d658a31ce2c344be4b91400da7d26d521628b00523b8dfe240c72de1f6,
    0x01f86376e8981c217898751ad8746757d42aa7b90eeb791c09e4a3ec03251cf9de405aba9ec61deca6355c77b0e5f4cb,
    0x08cc03fdefe0ff135caf4fe2a21529c4195536fbe3ce50b879833fd221351adc2ee7f8dc099040a841b6daecf2e8fedb,
    0x16603fca40634b6a2211e11db8f0a6a074a7d0d4afadb7bd76505c3d3ad5544e203f6326c95a807299b23ab13633a5f0,
    0x04ab0b9bcfac1bbcb2c977d027796b3ce75bb8ca2be184cb5231413c4d634f3747a87ac2460f415ec961f8855fe9d6f2,
    0x0987c8d5333ab86fde9926bd2ca6c674170a05bfe3bdd81ffd038da6c26c842642f64550fedfe935a15e4ca31870fb29,
    0x09fc4018bd96684be88c9e221e4da1bb8f3abd16679dc26c1e8b6e6a1f20cabe69d65201c78607a360370e577bdba587,
    0x0e1bba7a1186bdb5223abde7ada14a23c42a0ca7915af6fe06985e7ed1e4d43b9b3f7055dd4eba6f2bafaaebca731c30,
    0x19713e47937cd1be0dfd0b8f1d43fb93cd2fcbcb6caf493fd1183e416389e61031bf3a5cce3fbafce813711ad011c132,
    0x18b46a908f36f6deb918c143fed2edcc523559b8aaf0c2462e6bfe7f911f643249d9cdf41b44d606ce07c8a4d0074d8e,
    0x0b182cac101b9399d155096004f53f447aa7b12a3426b08ec02710e807b4633f06c851c1919211f20d4c04f00b971ef8,
    0x0245a394ad1eca9b72fc00ae7be315dc757b3b080d4c158013e6632d3c40659cc6cf90ad1c232a6442d9d3f5db980133,
    0x05c129645e44cf1102a159f748c4a3fc5e673d81d7e86568d9ab0f5d396a7ce46ba1049b6579afb7866b1e715475224b,
    0x15e6be4e990f03ce4ea50b3b42df2eb5cb181d8f84965a3957add4fa95af01b2b665027efec01c7704b456be69c8b604,
)
Y_DEN = (
    0x16112c4c3a9c98b252181140fad0eae9601a6de578980be6eec3232b5be72e7a07f3688ef60c206d01479253b03663c1,
    0x1962d75c2381201e1a0cbd6c43c348b885c84ff731c4d59ca4a10356f453e01f78a4260763529e3532f6102c2e49a03d,
    0x058df3306640da276faaae7d6e8eb15778c4855551ae7f310c35a5dd279cd2eca6757cd636f96f891e2538b53dbf67f2,
    0x16b7d288798e5395f20d23bf89edb4d1d115c5dbddbcd30e123da489e726af41727364f2c28297ada8d26d98445f5416,
    0x0be0e079545f43e4b00cc912f8228ddcc6d19c9f0f69bbb0542eda0fc9dec916a20b15dc0fd2ededda39142311a5001d,
    0x08d9e5297186db2d9fb266eaac783182b70152c65550d881c5ecd87b6f0f5a6449f38db9dfa9cce202c6477faaf9b7ac,
    0x166007c08a99db2fc3ba8734ace9824b5eecfdfa8d0cf8ef5dd365bc400a0051d5fa9c01a58b1fb93d1a1399126a775c,
    0x16a3ef08be3ea7ea03bcddfabba6ff6ee5a4375efa1f4fd7feb34fd206357132b920f5b00801dee460ee415a15812ed9,
    0x1866c8ed336c61231a1be54fd1d74cc4f9fb0ce4c6af5920abc5750c4bf39b4852cfe2f7bb9248836b233d9d55535d4a,
    0x167a55cda70a6e1cea820597d94a84903216f763e13d87bb5308592e7ea7d4fbc7385ea3d529b35e346ef48bb8913f55,
    0x04d2f259eea405bd48f010a01ad2911d9c6dd039bb61a6290e591b36e636a5c871a5c29f4f83060400f8b49cba8f6aa8,
    0x0accbb67481d033ff5852c1e48c50c477f94ff8aefce42d28c0f9a88cea7913516f968986f7ebbea9684b529e2561092,
    0x0ad6b9514c767fe3c3613144b45f1496543346d98adf02267d5ceef9a00d9b8693000763e3b90ac11e99b138573345cc,
    0x02660400eb2e4f3b628bdd0d53cd76f2bf565b94e72927c1cb748df27942480e420517bd8714cc80d1fadc1326ed06f7,
    0x0e0fa1d816ddc03e6b24255e0d7819c171c40f65e273b853324efcd6356caa205ca2f570f13497804415473a1d634b8f,
    1,
)

G2_GENERATOR: Point2 = (
    (
        0x024AA2B2F08F0A91260805272DC51051C6E47AD4FA403B02B4510B647AE3D1770BAC0326A805BBEFD48056C8C121BDB8,
        0x13E02B6052719F607DACD3A088274F65596BD0D09920B61AB5DA61BBDC7F5049334CF11213945D57E5AC7D055D042B7E,
    ),
    (
        0x0CE5D527727D6E118CC9CDC6DA2E351AADFD9BAA8CBDD3A76D429A695160D12C923AC9CC3BACA289E193548608B82801,
        0x0606C4A02EA734CC32ACD2B02BC28B99CB3E287E85A763AF267492AB572E99AB3F370D275CEC1DA1AAA9075FF05F79BE,
    ),
)


# The base field


def _root(a: int) -> int | None:
    """A square root, if there is one."""
    root = pow(a, (P + 1) // 4, P)
    return root if root * root % P == a % P else None


# The quadratic field


def _add2(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] + b[0]) % P, (a[1] + b[1]) % P


def _sub2(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] - b[0]) % P, (a[1] - b[1]) % P


def _mul2(a: Fp2, b: Fp2) -> Fp2:
    return (a[0] * b[0] - a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P


def _times(a: Fp2, n: int) -> Fp2:
    return a[0] * n % P, a[1] * n % P


def _invert2(a: Fp2) -> Fp2:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, P)
    return a[0] * norm % P, -a[1] * norm % P


def _root2(a: Fp2) -> Fp2 | None:
    norm = _root(a[0] * a[0] + a[1] * a[1])
    if norm is None:
        return None
    half = pow(2, -1, P)
    for sign in (norm, -norm):
        x = _root((a[0] + sign) * half)
        if x is None:
            continue
        y = a[1] * half * pow(x, -1, P) % P if x else _root(-a[0])
        if y is not None and _mul2((x, y), (x, y)) == (a[0] % P, a[1] % P):
            return x, y
    return None


# The field of degree 12

ONE: Fp12 = ((1, 0),) + ((0, 0),) * 5


def _mul12(a: Fp12, b: Fp12) -> Fp12:
    sums = [[0, 0] for _ in range(11)]
    for i, (a0, a1) in enumerate(a):
        if a0 or a1:
            for j, (b0, b1) in enumerate(b):
                if b0 or b1:
                    sums[i + j][0] += a0 * b0 - a1 * b1
                    sums[i + j][1] += a0 * b1 + a1 * b0
    for i in range(5):  # w⁶ = 1 + u
        high0, high1 = sums[i + 6]
        sums[i][0] += high0 - high1
        sums[i][1] += high0 + high1
    return tuple((c0 % P, c1 % P) for c0, c1 in sums[:6])


def _power12(a: Fp12, exponent: int) -> Fp12:
    result = ONE
    for bit in bin(exponent)[2:]:
        result = _mul12(result, result)
        if bit == "1":
            result = _mul12(result, a)
    return result


# G1: y² = x³ + 4


def _add1(p: Point1, q: Point1) -> Point1:
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = 3 * p[0] * p[0] * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def _multiply1(n: int, p: Point1) -> Point1:
    result: Point1 = None
    while n > 0:
        if n & 1:
            result = _add1(result, p)
        p = _add1(p, p)
        n >>= 1
    return result


def _decode1(data: bytes) -> Point1:
    """The point of G1 that 48 bytes encode, not that at infinity. Raises ValueError."""
    x = int.from_bytes(data, "big") % 2**381
    root = _root(x**3 + 4)
    if len(data) != 48 or data[0] & 0xC0 != 0x80 or x >= P or root is None:
        raise ValueError("no compressed point of the curve")
    y = P - root if (2 * root > P) != bool(data[0] & 0x20) else root
    if _multiply1(R, (x, y)) is not None:
        raise ValueError("no point of the group")
    return x, y


def _evaluate(coefficients: tuple[int, ...], x: int) -> int:
    value = 0
    for c in reversed(coefficients):
        value = (value * x + c) % P
    return value


def _expand(message: bytes, tag: bytes, size: int) -> bytes:
    """expand_message_xmd (RFC 9380, section 5.3.1) with SHA-256."""
    tag += bytes([len(tag)])
    first = hashlib.sha256(bytes(64) + message + size.to_bytes(2, "big") + b"\0" + tag).digest()
    blocks = [hashlib.sha256(first + b"\1" + tag).digest()]
    while 32 * len(blocks) < size:
        mixed = bytes(a ^ b for a, b in zip(first, blocks[-1]))
        blocks.append(hashlib.sha256(mixed + bytes([len(blocks) + 1]) + tag).digest())
    return b"".join(blocks)[:size]


def _map(u: int) -> Point1:
    """map_to_curve_simple_swu (section 6.6.2), and from there to the curve."""
    z = Z * u * u % P
    divisor = (z * z + z) % P
    x = -B * pow(A, -1, P) * (1 + pow(divisor, -1, P)) % P if divisor else B * pow(Z * A, -1, P) % P
    y = _root(x**3 + A * x + B)
    if y is None:
        x = z * x % P
        y = _root(x**3 + A * x + B)
    assert y is not None  # one of the two is a square
    if y % 2 != u % 2:
        y = P - y
    mapped_y = y * _evaluate(Y_NUM, x) * pow(_evaluate(Y_DEN, x), -1, P) % P
    return _evaluate(X_NUM, x) * pow(_evaluate(X_DEN, x), -1, P) % P, mapped_y


def hash_to_g1(message: bytes, tag: bytes) -> Point1:
    """hash_to_curve (section 3) of the suite BLS12381G1_XMD:SHA-256_SSWU_RO_."""
    data = _expand(message, tag, 128)
    u0, u1 = (int.from_bytes(data[i : i + 64], "big") % P for i in (0, 64))
    return _multiply1(COFACTOR, _add1(_map(u0), _map(u1)))


# G2: y² = x³ + 4 + 4u


def _add2points(p: Point2 | None, q: Point2 | None) -> Point2 | None:
    if p is None or q is None:
        return p or q
    if p[0] == q[0] and p[1] != q[1]:
        return None
    slope = _slope(p, q)
    x = _sub2(_sub2(_mul2(slope, slope), p[0]), q[0])
    return x, _sub2(_mul2(slope, _sub2(p[0], x)), p[1])


def _slope(p: Point2, q: Point2) -> Fp2:
    if p == q:
        return _mul2(_times(_mul2(p[0], p[0]), 3), _invert2(_times(p[1], 2)))
    return _mul2(_sub2(q[1], p[1]), _invert2(_sub2(q[0], p[0])))


def decode2(data: bytes) -> Point2:
    """The point of G2 that 96 bytes encode, not that at infinity. Raises ValueError."""
    x1, x0 = int.from_bytes(data[:48], "big") % 2**381, int.from_bytes(data[48:], "big")
    if len(data) != 96 or data[0] & 0xC0 != 0x80 or x0 >= P or x1 >= P:
        raise ValueError("no compressed point")
    x = x0, x1
    root = _root2(_add2(_mul2(_mul2(x, x), x), (4, 4)))
    if root is None:
        raise ValueError("no point of the curve")
    large = 2 * root[1] > P if root[1] else 2 * root[0] > P
    y = _sub2((0, 0), root) if large != bool(data[0] & 0x20) else root
    result, power = None, (x, y)
    for bit in reversed(bin(R)[2:]):
        if bit == "1":
            result = _add2points(result, power)
        power = _add2points(power, power)
    if result is not None:
        raise ValueError("no point of the group")
    return x, y


# The pairing


def _miller(p: tuple[int, int], q: Point2) -> Fp12:
    """The ate pairing before its final exponentiation, but for factors that this takes away."""

    def line(slope: Fp2, through: Point2) -> Fp12:
        constant = _sub2(_mul2(slope, through[0]), through[1])
        return constant, (0, 0), _times(slope, -p[0]), (p[1], 0), (0, 0), (0, 0)

    result, t = ONE, q
    for bit in bin(Z_OF_CURVE)[3:]:
        result = _mul12(_mul12(result, result), line(_slope(t, t), t))
        t = _add2points(t, t)
        if bit == "1":
            result = _mul12(result, line(_slope(t, q), t))
            t = _add2points(t, q)
    return result


def verify(public: Point2, message: bytes, signature: bytes, tag: bytes) -> bool:
    """Whether signature (a compressed point of G1) over message is good under a key of G2."""
    try:
        s, h = _decode1(signature), hash_to_g1(message, tag)
    except ValueError:
        return False
    if h is None:
        return False
    # e(s, g2) = e(h, public), as one product.
    product = _mul12(_miller(s, G2_GENERATOR), _miller((h[0], P - h[1]), public))
    return _power12(product, (P**12 - 1) // R) == ONE
