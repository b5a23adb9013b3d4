"""Personal data that only the words around it, or the order of its parts, show: passports, permits, addresses."""

from __future__ import annotations

from collections.abc import Callable

from policies.redact.detect.detector import ALNUM, Detector, Family, by_needles, linear
from policies.redact.folded import marked


def _words(chinese: str) -> bytes:
    return b"|".join(map(marked, chinese.split()))


def _is_document(value: bytes) -> bool:
    """Digits for the most part, and no year or date."""
    digits = sum(48 <= byte <= 57 for byte in value)
    return digits >= 5 and not (value[:2] in (b"19", b"20") and value.count(b"-") == 2)


def _has_digit(value: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in value)


def _is_phone(value: bytes) -> bool:
    digits = sum(48 <= byte <= 57 for byte in value)
    return 7 <= digits <= 15 and not (value[:2] in (b"19", b"20") and value.count(b"-") == 2)


# Between a name and its value: `No.`, a sign, quotes, tags, or a few Chinese characters.
_WIDE = rb"[\x80\x90-\xff]"
_LINK = (
    rb"[\"'`*)\]]{0,3}(?:[ _-]?(?:#|(?i:no|num|number|nr|id|code)\b\.?)){0,2}[\"'`*)\]]{0,3}"
    rb"(?:</[a-z]{1,8}>\s{0,8}<[a-z]{1,8}>)?\s{0,3}(?:(?:[:=|#,]|=>|(?i:is|was)\b)\s{0,3}){0,2}[\"'`(*]{0,3}"
)
_CHINESE_LINK = _WIDE + rb"{0,6}(?:[ \t]" + _WIDE + rb"{1,4})?(?:\([^()\r\n]{0,12}\))?" + _LINK

_PASSPORT = (
    rb"([A-Za-z]{1,2}[ -]?\d{6,8}|[A-Za-z]\d{2}[A-Za-z]\d{5}|\d{9}|\d{8}"
    rb"|[A-Za-z]{2}\d[A-Za-z]{2}\d{4}|[CFGHJK][A-Z0-9]{8})"
)
_PERMIT = rb"([HMhm][ -]?\d{8}(?:[ -]?\d{2})?|\d{8}|\d{10}(?:\([A-Za-z]\)|[A-Za-z])|[A-Za-z]\d{8}|[A-Za-z]{2}\d{7})"
_NUMBER = rb"((?:\+|\(\+?)?\d(?:[ .()-]{0,2}\d){6,14}(?:(?:-| ?(?i:ext|x)\.? ?)\d{1,5})?)"
_TELEPHONE = _words("电话 手机 座机")

# 省/市/区/县 …, then a road or village with a number, then building, unit and room. The longest that fits is taken.
_PART = rb"(?:[\x80\x90-\xff]{1,12}?(?:%b))" % _words("省 市 区 县 镇 乡 村")
_ROAD = rb"[\x80\x90-\xff]{1,12}?(?:%b)" % _words("路 街 道 巷 弄 村")
_HOUSE = rb"[ \t]{0,2}[A-Za-z]?\d{1,5}(?:[-/]\d{1,4}){0,2}[ \t]{0,2}(?:%b)" % _words(
    "号 弄 巷 号楼 栋 幢 座 楼 单元 室 层"
)
_INSIDE = (
    rb"(?:[ ,\t]{0,2}[A-Za-z]?[\x80\x90-\xff]{0,10}[ \t]{0,2}[A-Za-z]?[\d-]{1,6}[A-Za-z]?[ \t]{0,2}(?:%b)?){0,5}"
    % _words("号楼 号 栋 幢 座 楼 单元 室 层")
)
_AREAS = rb"(?:" + _PART + rb"[ \t]{0,2})"
_BLOCK = _WIDE + rb"{1,12}[ \t]{0,2}[A-Za-z]?\d{1,5}(?:%b)" % _words("号楼 栋 幢 单元 室 弄 号")
_CHINESE_ADDRESS = (
    rb"(?:"
    + _AREAS
    + rb"{1,4}"
    + _ROAD
    + _WIDE
    + rb"{0,4}"
    + _HOUSE
    + b"|"
    + _AREAS
    + rb"{2,4}"
    + _BLOCK
    + b")"
    + _INSIDE
)
_NAMED_ADDRESS = (
    rb"(?:%b|%b)" % (marked("地址"), marked("住址"))
    + _LINK
    + rb"([\x80\x90-\xff]{2,30}[ \t]{0,2}[A-Za-z]?\d{1,5}[A-Za-z]?(?:[ ,\t]{0,2}(?:[\x80\x90-\xff]{0,10})"
    rb"[A-Za-z]?[\d-]{1,6}[A-Za-z]?){0,4}" + rb"(?:%b)?)" % _words("号楼 号 栋 幢 座 楼 单元 室 层")
)

_SUFFIX = (
    rb"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way"
    rb"|Terrace|Ter|Parkway"
    rb"|Pkwy|Highway|Hwy|Circle|Cir|Trail|Trl|Crescent|Close|Gardens|Grove|Row|Mews|Alley|Hill|Quay|Plaza)"
)
_FLAT = (
    rb"(?i:Apartment|Apt|Suite|Ste|Unit|Flat|Room|Rm|Floor|Fl|Building|Bldg"
    rb"|#)\.? ?#?(?:[A-Za-z]?\d{1,5}[A-Za-z]?|[A-Z]\b)"
)
_TOWN = rb"[A-Z][A-Za-z.'-]{1,20}(?: [A-Z][a-z][A-Za-z.'-]{0,20}){0,3}"
_CODE = (
    rb"(?:[A-Z]{2} [A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{2} \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z0-9]? ?\d[A-Z]{2}"
    rb"|[A-Z]\d[A-Z] ?\d[A-Z]\d"
    rb"|[A-Z]{2,3} \d{4,6}|\d{4,6}|[A-Z]{2}\b)"
)
_ENGLISH_ADDRESS = (
    rb"(?:" + _FLAT + rb",? )?\d{1,6}[A-Za-z]?(?:-\d{1,5})? (?:(?:[NSEW]|North|South|East|West)\.? )?"
    rb"(?:(?:[A-Z][A-Za-z.'-]{1,20}|\d{1,3}(?:st|nd|rd|th)) ){1,4}"
    + _SUFFIX
    + rb"\b\.?(?: (?:NW|NE|SW|SE|[NSEW]|North|South|East|West)\b)?"
    rb"(?:,? " + _FLAT + rb")?(?:,\s{1,2}" + _TOWN + rb"){0,2}(?:,?\s{1,2}" + _CODE + rb")?"
)
_PO_BOX = rb"(?i:P\.? ?O\.? Box) \d{1,6}(?:,\s{1,2}" + _TOWN + rb")?(?:,?\s{1,2}" + _CODE + rb")?"


def _in_context(
    type_: str, pattern: bytes, needles: str, check: Callable[[bytes], bool], *, learn: bool = False
) -> Detector:
    return Detector(
        type=type_, pattern=linear(pattern), needles=marked(needles).split(), check=check, number=True, learn=learn
    )


CONTEXT: Family = by_needles(
    _in_context("passport", rb"(?i:passports?)" + _LINK + _PASSPORT, "passport", _is_document, learn=True),
    _in_context("passport", marked("护照") + _CHINESE_LINK + _PASSPORT, "护照", _is_document, learn=True),
    _in_context(
        "permit",
        rb"(?:%b)" % _words("通行证 回乡证 台胞证 台胞 回乡") + _CHINESE_LINK + _PERMIT,
        "通行证 回乡证 台胞",
        _is_document,
        learn=True,
    ),
    _in_context(
        "permit",
        rb"(?i:(?:travel|entry|mainland|home[ -]?return|exit-entry)[ -](?:travel )?permit|(?:hk|hkm|hmt|tw)_?permit)"
        + _LINK
        + _PERMIT,
        "permit",
        _is_document,
        learn=True,
    ),
    _in_context(
        "permit",
        rb"(?:%b|(?i:macau|macao)(?: ?(?i:id|resident|identity|card)){0,3})" % marked("澳")
        + _CHINESE_LINK
        + rb"([157]\d{6}\(\d\)|[157]/\d{6}/\d)",
        "澳 macau macao",
        _is_document,
        learn=True,
    ),
    _in_context(
        "ssn", rb"(?i:ssn|social security)" + _LINK + rb"(\d{3}[- ]?\d{2}[- ]?\d{4})", "ssn social", _is_document
    ),
    _in_context(
        "phone",
        rb"(?i:\b(?:tel|telephone|phone|mobile|cell|cellphone|fax|whatsapp|call|phone_number|contact_number|msisdn))s?"
        rb"(?i: (?:me|us|him|her|them))?(?i: (?:at|on))?" + _LINK + _NUMBER,
        "tel phone mobile cell fax whatsapp call contact msisdn",
        _is_phone,
    ),
    _in_context("phone", rb"(?:" + _TELEPHONE + rb")" + _CHINESE_LINK + _NUMBER, "电话 手机 座机", _is_phone),
    Detector(
        type="address",
        pattern=linear(_CHINESE_ADDRESS),
        needles=marked("号 弄 巷 栋 幢 座 楼").split(),
        check=_has_digit,
    ),
    Detector(type="address", pattern=linear(_NAMED_ADDRESS), needles=marked("地址 住址").split(), check=_has_digit),
    Detector(
        type="address",
        pattern=linear(_ENGLISH_ADDRESS),
        needles=(
            b"st",
            b"ave",
            b"road",
            b"rd",
            b"b",
            b"l",
            b"dr",
            b"c",
            b"p",
            b"sq",
            b"way",
            b"ter",
            b"h",
            b"tr",
            b"g",
            b"row",
            b"mews",
        ),
        before=ALNUM | frozenset(b"."),
    ),
    Detector(type="address", pattern=linear(_PO_BOX), needles=(b"box",), before=ALNUM),
)
"""Its words also stand in most texts; the patterns, all of bounded length, decide."""
