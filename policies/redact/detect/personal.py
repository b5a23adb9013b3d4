"""Personal data that has a form or a checksum: mail addresses, phone numbers, resident IDs, bank cards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from policies.redact.detect.detector import ALNUM, Detector, Family, by_needles, linear


def normal(type_: str, value: bytes) -> str:
    """What equal values have in common: a number without separators and Chinese prefix, an address in lower case."""
    if type_ == "phone":
        number = _digits(value)
        return number.removeprefix("00").removeprefix("86") if len(number) > 12 else number
    if type_ in ("cn_id", "bank_card"):
        return _digits(value)
    return (value.lower() if type_ == "email" else value).decode("latin-1")


def _digits(value: bytes) -> str:
    """The digits and a final X, whatever stands between them."""
    return "".join(chr(byte) for byte in value.upper() if 48 <= byte <= 57 or byte == 88)


_PROVINCE = linear(rb"^(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])")


def _is_resident_id(value: bytes) -> bool:
    """GB 11643-1999: province, birth date, check character (ISO 7064 MOD 11-2)."""
    number = _digits(value)
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(number[:17]))
    placed = _PROVINCE.search(value) is not None and 1800 <= born.year <= 2099
    return placed and number[17] == "10X98765432"[total % 11]


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
_RESIDENT_ID = rb"\d{17}[\dXx]|\d{6}[ -]\d{8}[ -]\d{3}[\dXx]"
_LONG_CARD = rb"\d{4}(?: \d{4}){3} ?\d{1,3}|\d{4}(?:-\d{4}){3}-?\d{1,3}"
_CARD = rb"\d{4}(?: \d{4}){3}|\d{4}(?:-\d{4}){3}|\d{4}[ -]\d{6}[ -]\d{4,5}|\d{6}[ -]\d{10,13}|\d{13,19}"
_MOBILE = (
    rb"(?:\(?(?:\+|00)?86\)?[ -]?)?(?:1[3-9]\d{9}|1[3-9]\d(?: \d{4} ?\d{4}|-\d{4}-?\d{4}|\d{4} \d{4})"
    rb"|1[3-9]\d{2}[ -]\d{3}[ -]\d{4}|1[3-9]\d{2}[ -]\d{4}[ -]\d{3}|1 [3-9](?: \d){9})"
)
_LANDLINE = rb"(?:(?:\+|00)86[ -]?)?\(?(?:0?10|0?2\d|0[3-9]\d{2})\)?[ -]?[2-8](?:\d{6,7}|\d{2,3}[ -]\d{4})(?:-\d{1,5})?"
_INTERNATIONAL = rb"\+[1-9](?:[ .()-]{0,2}\d){7,14}"


def _number(type_: str, pattern: bytes, check: Callable[[bytes], bool], *needles: bytes) -> Detector:
    return Detector(type=type_, pattern=linear(pattern), check=check, needles=needles, before=ALNUM, number=True)


EMAIL = by_needles(Detector(type="email", pattern=linear(_EMAIL), needles=(b"@",)))
NUMBERS = Family(
    gate=linear(rb"\d(?:[ ().-]{0,2}\d){6}"),
    detectors=(
        _number("cn_id", _RESIDENT_ID, _is_resident_id),
        _number("bank_card", _LONG_CARD, _is_card),
        _number("bank_card", _CARD, _is_card),
        _number("phone", _MOBILE, lambda _: True),
        _number("phone", _LANDLINE, lambda value: value[:1] in b"(0+" and len(value) > 9),
        _number("phone", _INTERNATIONAL, _is_international, b"+"),
    ),
)
