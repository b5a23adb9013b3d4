"""Credentials: the well-known formats, and values that their surroundings call a secret."""

from __future__ import annotations

from policies.redact.detect.detector import WORD, Detector, by_needles, linear
from policies.redact.folded import marked

# Type, pattern, needles. A fixed prefix and enough random characters, a digit among them.
_TOKENS = (
    ("jwt", rb"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", "eyj"),
    ("aws_key", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}", "akia asia abia acca"),
    ("aliyun_key", rb"LTAI[A-Za-z0-9]{12,30}", "ltai"),
    ("tencent_key", rb"AKID[A-Za-z0-9]{28,40}", "akid"),
    ("github_token", rb"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{22,255}", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_"),
    ("gitlab_token", rb"gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas)-[\w.-]{17,300}[\w-]", "gl"),
    ("slack_token", rb"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,300}", "xox xapp-"),
    ("slack_token", rb"hooks\.slack\.com/services/([A-Za-z0-9/]{20,100})", "hooks.slack.com"),
    ("stripe_key", rb"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,255}", "k_live_ k_test_ whsec_"),
    ("google_key", rb"AIza[\w-]{35}|GOCSPX-[\w-]{20,40}", "aiza gocspx-"),
    ("dingtalk_secret", rb"SEC[0-9a-f]{64}", "sec"),
    ("dingtalk_secret", rb"dingtalk\.com/robot/send\?access_token=([A-Za-z0-9]{32,80})", "dingtalk.com"),
    # OpenAI, Anthropic, DashScope (sk-, sk-ws-, sk-sp-) and the many that copied the prefix.
    ("api_key", rb"sk-[A-Za-z0-9][\w.-]{14,250}[\w-]", "sk-"),
    (
        "api_key",
        rb"(?:(?:hf|npm|dop_v1|shpat|glsa|gsk)_|nvapi-|pypi-AgE)[\w-]{30,250}",
        "hf_ npm_ dop_v1_ shpat_ glsa_ gsk_ nvapi- pypi-age",
    ),
)

_WORDS = frozenset(
    b"password passwd pass pwd secret token key apikey api_key null none nil undefined true false required "
    b"optional string text hidden redacted removed masked changeme example placeholder todo tbd empty unset "
    b"default value input type your_password yourpassword your-password your_api_key yoursecret mypassword "
    b"bearer basic digest invalid expired missing incorrect wrong".split()
)
# A reference to a value is not a value: shell and template variables, calls, tags.
_REFERENCES = tuple(rb"$ {{ {% %( < ( [ // os. env. process.env secret:// vault:".split())


def _has_digit(value: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in value)


def _is_value(value: bytes) -> bool:
    lowered = value.lower().rstrip(b".:!?")
    stand_in = lowered in _WORDS or lowered.startswith(_REFERENCES) or len(set(value)) == 1
    return not stand_in and len(lowered) >= 4


def _is_bare_value(value: bytes) -> bool:
    """For a value without quotes, which may also be a name, a call or a word of a sentence."""
    name = value.replace(b"_", b"").replace(b".", b"")
    one_case = value.islower() or value.isupper() or value.istitle()
    plain = name.isalpha() and (name != value or one_case)
    return _is_value(value) and b"(" not in value and (_has_digit(value) or not plain)


def _is_assigned_value(value: bytes) -> bool:
    """For `key=value` without blanks, as in shell and .env files, where one plain word is a value too."""
    return _is_bare_value(value) or (_is_value(value) and value.isalpha())


_KEY = (
    rb"(?i:pass(?:word|wd|phrase|code)|pwd|secret|token|(?:api|secret|access|account|private|signing)[_-]?key"
    rb"|access[_-]?key[_-]?(?:id|secret)|credentials?|%b)" % b"|".join(map(marked, ("密码", "口令", "密钥")))
)
_SIGN = rb"(?::=|=>|[:=]|%b|%b[ :]{0,2})" % (marked("是"), marked("为"))
_PLAIN = rb"\s\"'`\\<>,;&|\x80-\xff"
_BARE = rb"[^%b]{3,199}[^%b.:?)\]}]" % (_PLAIN, _PLAIN)
_QUOTED = rb"(?:\"((?:[^\"\\\r\n\x82]|\\.){4,200})\"|'((?:[^'\\\r\n\x82]|\\.){4,200})')"
_KEY_NEEDLES = "pass pwd secret token key credential 密码 口令 密钥"

# The same with a check, for values that only their context shows: learned, and not bound to an edge.
_NAMED = (
    (
        "url_password",
        rb"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/@?#\"'<>]{0,100}:([^\s/\"'<>\x82]{1,200})@",
        "://",
        lambda value: len(set(value)) > 1 and not value.startswith(_REFERENCES),
    ),
    (
        "bearer_token",
        rb"(?i)(?:bearer|authorization\"?[:=] ?\"?(?:basic|token))[ \t]+([\w.~+/=-]{8,})",
        "bearer authorization",
        lambda value: _has_digit(value) or len(value) >= 24,
    ),
    ("password", _KEY + rb"[\"']?\]?\s{0,3}" + _SIGN + rb"\s{0,3}" + _QUOTED, _KEY_NEEDLES, _is_value),
    ("password", _KEY + b"=(" + _BARE + b")", _KEY_NEEDLES, _is_assigned_value),
    ("password", _KEY + rb"[\"']?\s{0,3}" + _SIGN + rb"[ \t]{0,3}(" + _BARE + b")", _KEY_NEEDLES, _is_bare_value),
    ("password", rb"--[a-z-]{0,20}" + _KEY + rb"(?:[ \t]{1,3}|=)[\"']?(" + _BARE + b")", _KEY_NEEDLES, _is_bare_value),
)

# A key cut off before its END line is taken as far as it looks like one.
_PRIVATE_KEY = (
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=:,.\\\s]|-[A-Za-z0-9])*"
    rb"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)


_KEYS = [Detector(type="private_key", pattern=linear(_PRIVATE_KEY), needles=(b"private key",))]
for _type, _pattern, _words in _TOKENS:
    _needles = marked(_words).split()
    _KEYS.append(Detector(type=_type, pattern=linear(_pattern), needles=_needles, check=_has_digit, before=WORD))
for _type, _pattern, _words, _check in _NAMED:
    _needles = marked(_words).split()
    _KEYS.append(Detector(type=_type, pattern=linear(_pattern), needles=_needles, check=_check, learn=True))

CREDENTIALS = by_needles(*_KEYS)
"""Every credential form; the more exact come first and win over the general ones on the same span."""
