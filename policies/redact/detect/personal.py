"""Personal data that has a form or a checksum: mail addresses, phone numbers, identity documents, accounts, plates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from ipaddress import ip_address, ip_network

from policies.redact.detect.detector import ALNUM, Detector, Family, by_needles, linear
from policies.redact.folded import marked


def normal(type_: str, value: bytes) -> str:
    """What equal values have in common: a number without separators and Chinese prefix, an address in lower case."""
    if type_ == "phone":
        number = _digits(value)
        return number.removeprefix("00").removeprefix("86") if len(number) > 12 else number
    if type_ in ("cn_id", "bank_card"):
        return _digits(value)
    if type_ in _COMPACT:
        return value.translate(None, b" -").upper().decode("latin-1")
    return (value.lower() if type_ == "email" else value).decode("latin-1")


_COMPACT = frozenset({"iban", "uscc", "plate", "passport", "permit", "hk_id", "tw_id"})


def _digits(value: bytes) -> str:
    """The digits and a final X, whatever stands between them."""
    return "".join(chr(byte) for byte in value.upper() if 48 <= byte <= 57 or byte == 88)


_PROVINCE = linear(rb"^9?(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])")
"""GB/T 2260; with a 9 before it on the cards of foreign permanent residents since 2023."""


def _is_resident_id(value: bytes) -> bool:
    """GB 11643-1999: province, birth date, check character (ISO 7064 MOD 11-2)."""
    number = _digits(value)
    if not _is_born(number[6:14]) or _PROVINCE.search(value) is None:
        return False
    total = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(number[:17]))
    return number[17] == "10X98765432"[total % 11]


def _is_old_resident_id(value: bytes) -> bool:
    """The form of 15 digits, given out until 1999: province and birth date; there is no check character."""
    number = _digits(value)
    return _PROVINCE.search(value) is not None and number[0] != "9" and _is_born("19" + number[6:12])


def _is_born(day: str) -> bool:
    try:
        return 1800 <= date(int(day[:4]), int(day[4:6]), int(day[6:])).year <= 2099
    except ValueError:
        return False


_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def _is_uscc(value: bytes) -> bool:
    """GB 32100-2015: registration department, region, and a check character modulo 31."""
    code = value.translate(None, b" -").decode().upper()
    if (
        not set(code) <= set(_USCC)
        or (code.isdigit() and code[0] != "9")
        or _PROVINCE.search(code[2:].encode()) is None
    ):
        return False
    total = sum(_USCC.index(character) * pow(3, place, 31) for place, character in enumerate(code[:17]))
    return _USCC[-total % 31] == code[17]


def _is_hk_id(value: bytes) -> bool:
    """Hong Kong identity card: one or two letters, six digits, a check character modulo 11 in brackets."""
    code = value.translate(None, b" ()-").decode().upper().rjust(9)
    weighed = ((36 if c == " " else int(c, 36)) * (9 - place) for place, c in enumerate(code[:8]))
    return "0123456789A"[-sum(weighed) % 11] == code[8]


def _is_tw_id(value: bytes) -> bool:
    """Taiwan identity card: a letter for the county, eight digits, a check digit modulo 10."""
    code = value.decode().upper()
    county = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(code[0]) + 10
    digits = [county // 10, *((county % 10 if c == code[0] else int(c)) for c in code[:9])]
    return (digits[0] + sum(d * (9 - n) for n, d in enumerate(digits[1:])) + int(code[9])) % 10 == 0


# The IBAN registry: how long an account number of each country is.
_IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip


def _iban_of(length: int, countries: str) -> bytes:
    groups, rest = divmod(length - 4, 4)
    last = rb"[ -]?[A-Za-z0-9]{%d}" % rest if rest else b""
    return rb"(?i:%b)\d\d(?:[ -]?[A-Za-z0-9]{4}){%d}%b" % (countries.replace(" ", "|").encode(), groups, last)


def _is_iban(value: bytes) -> bool:
    """ISO 13616: the check digits modulo 97."""
    code = value.translate(None, b" -").decode()
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


_SHORT_OCTETS = linear(rb"^\d(?:\.\d){3}$")
# RFC 5737 and 3849: for manuals, and so for whoever tries this out.
_EXAMPLES = tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
_RESOLVERS = (b"1.1.1.1", b"8.8.8.8", b"9.9.9.9", b"8.8.4.4", b"1.0.0.1")


def _is_public_ip(value: bytes) -> bool:
    """An address that can belong to somebody: not private, loopback, link-local, multicast or a mask; `3.2.1.4` is
    more often a version or a section."""
    try:
        at = ip_address(value.decode())
    except ValueError:
        return False
    documented = any(at in net for net in _EXAMPLES)
    if at.version == 6 and int(at) >> 125 != 1:  # only 2000::/3 is given out; `a::b` is a name in C++
        return False
    short = _SHORT_OCTETS.search(value) is not None and value not in _RESOLVERS
    return (at.is_global or documented) and not at.is_multicast and not short


# Which first digits issuers use at which length (ISO/IEC 7812 as published by the card schemes; 9558 is an old
# Chinese debit range). Without it, one in ten timestamps and order numbers passes the checksum.
_ISSUED = linear(
    rb"^(?:4(?:\d{12}|\d{15}|\d{18})|3(?:0[0-5]|[689]\d)\d{11}|3[47]\d{13}"
    rb"|(?:5\d\d\d|6\d\d\d|35\d\d|81\d\d|22[2-9]\d|2[3-6]\d\d|27[0-2]\d|220[0-4]|955[89])\d{12,15})$"
)


def _is_card(value: bytes) -> bool:
    """ISO/IEC 7812: length, issuer range and the Luhn checksum."""
    number = [int(digit) for digit in _digits(value)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in number[-2::-2])
    return (doubled + sum(number[-1::-2])) % 10 == 0 and _ISSUED.search(_digits(value).encode()) is not None


# ITU-T E.164 country codes in use.
_COUNTRY = linear(
    rb"^(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    rb"|(?:2[1-689]|3[578]|42|50|59|6[789]|8[0578]|9[67])\d|99[2-68])"
)
_DATE = linear(rb"^\+?(?:19|20)\d\d-[01]\d-[0-3]\d")


def _is_international(value: bytes) -> bool:
    return _COUNTRY.search(_digits(value).encode()) is not None and _DATE.search(value) is None


# Never refused once it matches: a long refused local part would be tried again at every dot. The first label of the
# domain is therefore written so that `icon@2x.png` does not match.
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\."
_EMAIL = (
    rb"[A-Za-z0-9_](?:[A-Za-z0-9._+'-]*[A-Za-z0-9_+-])?@(?:[A-Za-z][A-Za-z0-9-]*\.|\d\.|\d[^xX\W_][A-Za-z0-9-]*\."
    rb"|\d[xX-][A-Za-z0-9-]+\.)(?:" + _LABEL + rb")*(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,40})"
)
_RESIDENT_ID = rb"\d(?:[ .-]?\d){16}[ .-]?[\dXx]"
_OLD_RESIDENT_ID = rb"\d{15}|\d{6}[ -]\d{6}[ -]\d{3}"
_LONG_CARD = rb"\d{4}(?: \d{4}){3} ?\d{1,3}|\d{4}(?:-\d{4}){3}-?\d{1,3}|\d(?: \d){18}"
_CARD = (
    rb"\d{4}(?: \d{4}){3}|\d{4}(?:[-.]\d{4}){3}|\d{4}(?: ?- ?\d{4}){3}|\d{4}[ -]\d{6}[ -]\d{4,5}"
    rb"|\d{6}[ -]\d{10,13}|\d{13,19}"
    rb"|\d(?: \d){15}"
)
_MOBILE = (
    rb"(?:\(?(?:\+|00)?86\)?[ -]?)?(?:1[3-9]\d{9}|1[3-9]\d(?: \d{4} ?\d{4}|-\d{4}-?\d{4}|\.\d{4}\.\d{4}|\d{4} \d{4}"
    rb"| ?- ?\d{4} ?- ?\d{4})|1[3-9]\d{2}[ -]\d{3}[ -]\d{4}|1[3-9]\d{2}[ -]\d{4}[ -]\d{3}|1[ -]?[3-9](?:[ -]\d){9})"
)
_LANDLINE = (
    rb"(?:(?:\+|00)86[ -]?)?\(?(?:0?10|0?2\d|0[3-9]\d{2})\)?(?:[ -]?|--| - )[2-8](?:\d{6,7}|\d{2,3}[ -]\d{4})"
    rb"(?:-\d{1,5})?"
)
_AMERICAN = rb"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}"
_INTERNATIONAL = rb"(?:\+|00)[1-9](?:[ .()-]{0,2}\d){7,14}"
_HK_ID = rb"[A-Za-z]{1,2} ?\d{6} ?\([0-9Aa]\)"
_TW_ID = rb"[A-Z][1289]\d{8}"
_USCC_FORM = (
    rb"(?:1[1239]|[2-8][1-59]|9[123]|[ANY][1239])(?:\d{6}[0-9A-HJ-NPQRTUWXY]{10}"
    rb"|[ -]?\d{6}[ -]?[0-9A-HJ-NPQRTUWXY]{9}[ -]?[0-9A-Y])"
)
_USCC_GROUPS = (
    rb"(?:9[123]|[15][12])\d\d(?:[ -][0-9A-Y]{4}){3}[ -][0-9A-Y]{2}|[0-9a-hj-npqrtuwxy]{2}\d{6}[0-9a-hj-npqrtuwxy]{10}"
)
_IPV4 = rb"(?:\d{1,3}\.){3}\d{1,3}"
_IPV6 = rb"(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}:){1,7}(?::[0-9A-Fa-f]{1,4}){1,6}"
_LETTERS = rb"[A-HJ-NP-Za-hj-np-z]"
_PLATE = (
    rb"[%b][ \x80-]?[A-Za-z][ .\x80-]{0,2}(?:(?:[DFdf][A-HJ-NP-Za-hj-np-z0-9]\d{4}|\d{5}[DFdf])"
    rb"|[A-HJ-NP-Za-hj-np-z0-9]{4}(?:[A-HJ-NP-Za-hj-np-z0-9]|[%b]))"
    % (
        marked("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领"),
        marked("挂学警港澳使领"),
    )
)

# What a number is called when it is none of a person.
_COUNTS = (
    rb"(?i:(?:order|sku|tracking|waybill|invoice|ticket|serial|batch|build|part|item|trace|request"
    rb"|transaction|txn|job|task"
    rb"|shipment|parcel|timestamp|epoch|isbn|imei|revision|version|commit|checksum|nonce|offset|size|bytes|hash)s?"
    rb"(?:[ _-]?(?:no|num|number|id|code|ref))?\.?|%b(?:%b){0,2})[\"']?[ \t]{0,2}[:=#]?[ \t]{0,2}[\"'#]?$|[$#][ ]?$"
    % (
        b"|".join(map(marked, ("订单", "运单", "流水", "批", "单号"))),
        b"|".join((marked("号"), rb"[\x80\x90-\xff]")),
    )
)
_COUNTED = linear(_COUNTS)
_DOCUMENTED = linear(_COUNTS + rb"|%b[\x80-\xff]{0,2}[ :]{0,3}$" % marked("证"))
_NUMBERED = linear(
    rb"(?i:(?:\bv|version|ver|release|section|build|chapter|sec)[\"']?[ :.=]{0,3}[\"']?|[\w)]@|[A-Za-z]/"
    rb"|==|>=|<=|~=|\^|~"
    rb"|[A-Za-z][_-])$"
)


def _has_plate_digits(value: bytes) -> bool:
    return sum(48 <= byte <= 57 for byte in value) >= 2


def _number(type_: str, pattern: bytes, check: Callable[[bytes], bool], *needles: bytes) -> Detector:
    return Detector(
        type=type_,
        pattern=linear(pattern),
        check=check,
        needles=needles,
        before=ALNUM,
        number=True,
        unless=_DOCUMENTED
        if type_ == "bank_card"
        else _COUNTED
        if type_ in ("phone", "tw_id") or check is _is_old_resident_id
        else None,
    )


EMAIL = by_needles(Detector(type="email", pattern=linear(_EMAIL), needles=(b"@",)))
NUMBERS = Family(
    gate=linear(rb"\d(?:[ ().-]{0,3}\d){6}"),
    detectors=(
        _number("cn_id", _RESIDENT_ID, _is_resident_id),
        _number("uscc", _USCC_FORM, _is_uscc),
        _number("uscc", _USCC_GROUPS, _is_uscc),
        _number("bank_card", _LONG_CARD, _is_card),
        _number("bank_card", _CARD, _is_card),
        _number("phone", _MOBILE, lambda _: True),
        _number("phone", _LANDLINE, lambda value: value[:1] in b"(0+" and len(value) > 9),
        _number("phone", _INTERNATIONAL, _is_international, b"+", b"00"),
        _number("phone", _AMERICAN, lambda _: True, b"(", b"-", b".", b" "),
        _number("cn_id", _OLD_RESIDENT_ID, _is_old_resident_id),
        _number("iban", b"|".join(_iban_of(*each) for each in _IBAN_COUNTRIES.items()), _is_iban),
        _number("hk_id", _HK_ID, _is_hk_id, b"("),
        _number("tw_id", _TW_ID, _is_tw_id),
    ),
)
PLACES = Family(
    gate=linear(rb"\d\.\d{1,3}\.\d|[0-9A-Fa-f]:[0-9A-Fa-f:]|[\x90-\xff][ \x80-]?[A-Za-z][ .\x80-]{0,2}[A-Za-z0-9]{4}"),
    detectors=(
        Detector(
            type="ip",
            pattern=linear(_IPV4),
            check=_is_public_ip,
            needles=(b".",),
            before=ALNUM | frozenset(b"."),
            number=True,
            unless=_NUMBERED,
        ),
        Detector(
            type="ip",
            pattern=linear(_IPV6),
            check=_is_public_ip,
            needles=(b":",),
            before=ALNUM | frozenset(b":"),
            number=True,
        ),
        Detector(type="plate", pattern=linear(_PLATE), check=_has_plate_digits, number=True),
    ),
)
