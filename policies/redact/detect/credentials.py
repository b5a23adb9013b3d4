"""Credentials: the well-known formats, and values that their surroundings call a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from policies.redact.detect.detector import WORD, Detector, by_needles, linear
from policies.redact.folded import marked

# Type, pattern, needles. A fixed prefix and enough random characters.
_TOKENS = (
    ("jwt", rb"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", "eyj"),
    ("aws_key", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}", "akia asia abia acca"),
    ("aws_secret", rb"A[KS]IA[A-Z0-9]{16}[^A-Za-z0-9+]{1,6}([A-Za-z0-9/+]{40})", "akia asia"),
    ("aliyun_key", rb"LTAI[A-Za-z0-9]{12,30}|STS\.N[A-Za-z0-9]{16,40}", "ltai sts.n"),
    ("aliyun_secret", rb"LTAI[A-Za-z0-9]{12,30}[^A-Za-z0-9]{1,6}([A-Za-z0-9]{30})", "ltai"),
    ("tencent_key", rb"AKID[A-Za-z0-9]{28,40}", "akid"),
    ("github_token", rb"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{22,255}", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_"),
    ("gitlab_token", rb"gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas|ffct)-[\w.-]{17,300}[\w-]", "gl"),
    ("slack_token", rb"(?:xox[abceoprs](?:\.xox[bp])?|xapp)-[A-Za-z0-9-]{10,300}", "xox xapp-"),
    ("slack_token", rb"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/]{20,100})", "hooks.slack.com"),
    ("stripe_key", rb"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,255}", "k_live_ k_test_ whsec_"),
    (
        "google_key",
        rb"AIza[\w-]{35}|GOCSPX-[\w-]{20,40}|ya29\.[\w-]{20,300}|1//0[\w-]{20,150}",
        "aiza gocspx- ya29. 1//0",
    ),
    ("npm_token", rb"npm_[A-Za-z0-9]{30,60}", "npm_"),
    ("pypi_token", rb"pypi-[\w-]{30,250}", "pypi-"),
    ("telegram_token", rb"(?:bot)?(\d{8,10}:[\w-]{35})", ":"),
    ("twilio_key", rb"(?:SK|AC)[0-9a-f]{32}", "sk ac"),
    ("sendgrid_key", rb"SG\.[\w-]{16,32}\.[\w-]{30,64}", "sg."),
    ("dingtalk_secret", rb"SEC[0-9a-f]{64}", "sec"),
    ("dingtalk_secret", rb"dingtalk\.com/robot/send\?access_token=([A-Za-z0-9]{32,80})", "dingtalk.com"),
    ("dingtalk_key", rb"ding[a-z0-9]{16,24}", "ding"),
    # Robots of chat products: whoever knows the address can post.
    (
        "webhook_key",
        rb"(?:open\.(?:feishu\.cn|larksuite\.com)/open-apis/bot/v\d/hook/|weixin\.qq\.com/cgi-bin/webhook/send\?key="
        rb"|discord(?:app)?\.com/api/webhooks/\d{10,20}/|api\.telegram\.org/bot|\.webhook\.office\.com/webhookb2/)"
        rb"([\w:@/-]{20,200})",
        "/hook/ webhook api.telegram.org",
    ),
    # OpenAI, Anthropic, DashScope (sk-, sk-ws-, sk-sp-) and the many that copied the prefix.
    ("api_key", rb"sk-[A-Za-z0-9][\w.-]{14,250}[\w-]", "sk-"),
    (
        "api_key",
        rb"(?:(?:hf|dop_v1|doo_v1|dor_v1|shp(?:at|ss|ca|pa)|glsa|glc|gsk|r8|ntn|figd|dckr_pat"
        rb"|pscale_(?:tkn|pw)|sntry[su]"
        rb"|sbp|rubygems|lin_api|lin_oauth|tfp|pnu|duffel_(?:live|test)|rdme|pcsk|tvly|e2b|lsv2_(?:pt|sk)"
        rb"|ph[cx]|CLOJARS)_"
        rb"|(?:nvapi|xai|pplx|tvly|PMAK|NRAK|NRII|CFPAT|HRKU|xkeysib|xsmtpsib|sq0atp|sq0csp"
        rb"|AGE-SECRET-KEY|tskey|fio-u)-"
        rb"|hv[sbr]\.|dp\.(?:pt|st|ct|sa)\.|bce-v3/ALTAK-|dapi|AKLT|AKCp|EZ[AT]K|AT[AC]TT3|ATBB"
        rb"|FLWSECK)[\w=./-]{20,250}",
        "_ - hvs. hvb. hvr. dp. bce-v3 dapi aklt akcp ezak eztk atatt3 atctt3 atbb flwseck",
    ),
    ("api_key", rb"[0-9a-f]{32}-us\d{1,2}", "-us"),
    ("api_key", rb"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,80}", ".atlasv1."),
    ("api_key", rb"[?&]sig=([\w%/+=-]{30,100})", "sig="),
)

# The same for prefixes that ordinary names have too: letters of both cases and digits must be well mixed.
_GUESSED = (
    (
        "api_key",
        rb"(?:(?:secret|re|pat|fc|key|ak|sk|pk|token|api|ops|sgp|rnd|vcp|nfp)_|(?:pul|key|cio|tk-us|p8e"
        rb"|secret|token)-|sl\."
        rb"|EAA[A-Z]|oy2|AQVN)[\w=./-]{20,250}",
        "_ - sl. eaa oy2 aqvn",
    ),
    # What a provider that is in no list would issue: a word, what it is for, and much that is random.
    (
        "api_key",
        rb"[A-Za-z][A-Za-z0-9]{1,15}[_-](?:live|test|prod|dev|sandbox|pat|tkn|token|key|secret|sk|api|v\d|usr|bot)[_-]"
        rb"[A-Za-z0-9]{20,128}",
        "_ -",
    ),
    ("api_key", rb"[A-Za-z]{2,10}[_-][A-Za-z0-9]{32,128}", "_ -"),
    ("api_key", rb"[MNO][A-Za-z0-9]{23,27}\.[\w-]{6}\.[\w-]{27,40}", "."),
)

_WORDS = frozenset(
    b"password passwd pass pwd secret token key apikey api_key null none nil undefined true false required "
    b"optional string text hidden redacted removed masked changeme example placeholder todo tbd empty unset "
    b"default value input type your_password yourpassword your-password your_api_key yoursecret mypassword "
    b"bearer basic digest invalid expired missing incorrect wrong unknown disabled enabled encrypted str bool "
    b"number object array any bytes integer int64 uint64 utf8 utf-8 sha256 md5 base64 oauth2 rfc6749".split()
)
# A reference to a value is not a value: shell and template variables, calls, tags, addresses, paths.
_REFERENCES = tuple(
    rb"$ {{ {% %( < ( [ // : = ! #{ os. env. process. self. this. config. settings. args. request. req. ctx. options. "
    rb"params. data. user. vault: secret:// op:// http:// https:// arn: ref+ file: /run/ /etc/ /var/ /hom"
    rb"e/ ./ ../ ~/ your "
    rb"xxxx **** .... ----".split()
)
_INDEXED = linear(rb"^[A-Za-z_][\w.]*\[")


def _has_digit(value: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in value)


def _is_random(value: bytes) -> bool:
    """Not the words of a name: digits, or both cases in what is long, and not one character over and over."""
    long = len(value) > 19 and not value.islower() and (not value.isupper() or len(set(value)) > 9)
    return len(set(value)) > 4 and (_has_digit(value) or long)


def _is_unnamed(value: bytes) -> bool:
    """For tokens whose prefix is known to nobody: digits and letters well mixed, not a hash, an id or a name."""
    tail = max(value.replace(b"-", b"_").split(b"_"), key=len)
    digits = sum(48 <= byte <= 57 for byte in tail)
    return len(set(tail)) > 11 and 2 <= digits <= 0.7 * len(tail) and tail.lower() != tail != tail.upper()


def _is_value(value: bytes) -> bool:
    lowered = value.lower().rstrip(b".:!?")
    stand_in = lowered in _WORDS or lowered.startswith(_REFERENCES) or len(set(value)) == 1
    sentence = b" " in value and not _has_digit(value)
    return not stand_in and not sentence and len(lowered) >= 4 and not (value[:1] == b"{" and value[-1:] == b"}")


def _is_bare_value(value: bytes) -> bool:
    """For a value without quotes, which may also be a name, a call or a word of a sentence."""
    name = value.replace(b"_", b"").replace(b".", b"")
    one_case = value.islower() or value.isupper() or value.istitle()
    plain = name.isalpha() and (name != value or one_case)
    called = b"(" in value or _INDEXED.search(value) is not None
    return _is_value(value) and not called and (_has_digit(value) or not plain)


def _is_assigned_value(value: bytes) -> bool:
    """For `key=value` without blanks, as in shell and .env files, where one plain word is a value too."""
    return _is_bare_value(value) or (_is_value(value) and value.isalpha())


def _is_said_value(value: bytes) -> bool:
    """For a value in a sentence: letters and digits, and not `12-character`."""
    word = value.lstrip(b"0123456789").lstrip(b"-").isalpha() and value[:1].isdigit()
    return _is_bare_value(value) and _has_digit(value) and any(chr(each).isalpha() for each in value) and not word


def _not_a_count(check: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """For keys such as `token`, behind which a short number is an amount or a flag, and joined words are a name."""

    def checked(value: bytes) -> bool:
        amount = len(value) < (11 if value.startswith(b"0x") else 8) and value.removeprefix(b"0x").isdigit()
        words = value.translate(None, b"-_.")
        return check(value) and not amount and not (words != value and words.isalpha() and words.islower())

    return checked


# A password may be a short number; what is called a token or a key may not.
_PASS = (
    rb"(?i:pass(?:word|wd|phrase|code)|passwd|[_-]pass|pwd|%b)" % b"|".join(map(marked, ("密码", "口令")))
    + rb"(?i:[_-]?(?:prod|dev|test|old|new|[0-9]{1,2}))?"
)
_OTHER = (
    rb"(?i:secret|token|cookie|(?:api|app|secret|access|account|private|signing|sign|encryption|encrypt"
    rb"|encoding|aes|master"
    rb"|auth|service|license|client|shared|storage|session|deploy|webhook|hmac|jwt|ssh|server|cron|push)[_. -]?key"
    rb"|access[_-]?key[_-]?(?:id|secret)|(?:secret|session)[_-]?id|credentials?|%b)"
    % b"|".join(map(marked, ("密钥", "私钥", "令牌", "授权码")))
    + rb"(?i:[_-]?(?:key|base|value|str|prod|dev|test|live|old|new|[0-9]{1,2})){0,2}"
)
_SIGN = rb"(?::=|=>|[:=]|%b|%b[ :]{0,2})" % (marked("是"), marked("为"))
_PLAIN = rb"\s\"'`\\<>,;&|\x80-\xff"
_BARE = rb"[^%b]{3,199}[^%b.:?)\]}]" % (_PLAIN, _PLAIN)
_QUOTED = rb"(?:\"((?:[^\"\\\r\n\x82]|\\.){4,200})\"|'((?:[^'\\\r\n\x82]|\\.){4,200})')"
_CHINESE_NEEDLES = "密码 口令 密钥 私钥 令牌 授权码"
_CHINESE = b"(?:" + b"|".join(map(marked, _CHINESE_NEEDLES.split())) + b")"
_WORD_NEEDLES = "pass pwd 密码 口令"
_OTHER_NEEDLES = "secret token cookie key credential id 密钥 私钥 令牌 授权码"
_Check = Callable[[bytes], bool]


def _assignments(
    key: bytes, needles: str, allowed: Callable[[_Check], _Check]
) -> Iterator[tuple[str, bytes, str, _Check]]:
    """The ways in which a key and its value are written: JSON, code, shell, options, tables, XML, sentences."""
    between = rb"[\"'`*]{0,3}[ \t]{0,3}"
    rows = (
        (key + rb"[\"']?\]?\s{0,3}" + _SIGN + rb"\s{0,3}[bfru]?" + _QUOTED, _is_value),
        (rb"\([\"'][\w.-]{0,40}" + key + rb"[\"']\s{0,2},\s{0,2}" + _QUOTED, _is_bare_value),
        (key + b"=(" + _BARE + b")", _is_assigned_value),
        (key + between + _SIGN + rb"[`* \t]{0,3}(" + _BARE + b")", _is_bare_value),
        (rb"--[a-z-]{0,20}" + key + rb"(?:[ \t]{1,3}|=)[\"']?(" + _BARE + b")", _is_bare_value),
        (key + between + rb"\|[ \t]{0,20}`?(" + _BARE + b")", _is_said_value),
        (key + rb"[ \t]{1,2}(?:is|was|to)[ \t]{1,2}[\"'`]?(" + _BARE + b")", _is_said_value),
        (rb"<[\w.:-]{0,40}" + key + rb"[\w.-]{0,10}>\s{0,3}([^<>\s\x82]{4,200})\s{0,3}</", _is_value),
        (
            rb"(?i:name|key|id)[\"']?\s{0,2}[=:]\s{0,2}[\"'][\w.-]{0,40}"
            + key
            + rb"[\"'][\s,]{1,20}[\"']?value[\"']?\s{0,2}[=:]\s{0,2}"
            + _QUOTED,
            _is_value,
        ),
        (
            rb"(?i:name|key):\s{0,3}[\"']?[\w.-]{0,40}" + key + rb"[\"']?\s{1,20}value:\s{0,3}[\"']?(" + _BARE + b")",
            _is_bare_value,
        ),
    )
    for pattern, check in rows:
        yield "password", pattern, needles, allowed(check)


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
        rb"(?i)(?:bearer|authorization\"?[:=] ?\"?(?:basic|token|apikey))[ \t]+([\w.~+/=-]{8,})",
        "bearer authorization",
        lambda value: _has_digit(value) or len(value) >= 24,
    ),
    *_assignments(_PASS, _WORD_NEEDLES, lambda check: check),
    *_assignments(_OTHER, _OTHER_NEEDLES, _not_a_count),
    ("password", _CHINESE + rb"[\x80\x90-\xff]{0,4}[ \t:]{0,3}(" + _BARE + b")", _CHINESE_NEEDLES, _is_said_value),
    ("password", rb"(?i:sess(?:ion)?_?(?:id)?|sid|auth|jwt)=([\w%.+/=-]{16,400})", "sess sid= auth= jwt=", _is_unnamed),
    (
        "password",
        rb"curl[^\r\n|;]{0,200}? (?:-u|--user)[ =]?[\"']?[^\s:\"']{1,64}:([^\s\"'\x82]{3,100})",
        "curl",
        _is_value,
    ),
    (
        "password",
        rb"(?:sshpass[ ]{1,3}-p ?|mysql[\w-]*[ ][^\r\n|;]{0,120}? -p|redis-cli[^\r\n|;]{0,120}? -a "
        rb"|login[^\r\n|;]{0,120}? -p )"
        rb"[\"']?(" + _BARE + b")",
        "sshpass mysql redis-cli login",
        _is_value,
    ),
    ("password", rb"(?:login|user)\s{1,3}\S{1,64}\s{1,3}password\s{1,3}(" + _BARE + b")", "password", _is_value),
    (
        "password",
        rb"(?i:identified\s{1,3}(?:with\s{1,3}\w{1,30}\s{1,3})?by|password)\s{1,3}" + _QUOTED,
        "identified password",
        _is_value,
    ),
)

# A key cut off before its END line is taken as far as it looks like one.
_PRIVATE_KEY = (
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=:,.\\\s]|-[A-Za-z0-9])*"
    rb"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)


_KEYS = [Detector(type="private_key", pattern=linear(_PRIVATE_KEY), needles=(b"private key",))]
for _table, _check in ((_TOKENS, _is_random), (_GUESSED, _is_unnamed)):
    for _type, _pattern, _words in _table:
        _needles = marked(_words).split()
        _KEYS.append(Detector(type=_type, pattern=linear(_pattern), needles=_needles, check=_check, before=WORD))
for _type, _pattern, _words, _check in _NAMED:
    _needles = marked(_words).split()
    _KEYS.append(Detector(type=_type, pattern=linear(_pattern), needles=_needles, check=_check, learn=True))

CREDENTIALS = by_needles(*_KEYS)
"""Every credential form; the more exact come first and win over the general ones on the same span."""
