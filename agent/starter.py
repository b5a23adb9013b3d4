"""A first policy of one's own: small, with cases in every rule, and closed for everything that was not named."""

from __future__ import annotations

from dataclasses import dataclass

from policies.action import canonical_url
from policies.errors import BadPolicy
from policies.load import loads

_HEAD = """# Made by `remit policy new`. What no rule speaks about is refused; a refusal says what would be allowed.
# Try it: remit policy check FILE, remit policy explain --policy FILE --url URL
version: 1
name: {name}
limits: {{steps: 60, minutes: 30, tokens: 300000}}
rules:
  - id: untrusted-chooses-no-sink
    effect: deny
    action: "*"
    when: {{untrusted: true, sink: ungrounded}}
    why: after reading what strangers wrote, nothing goes to a place that neither you nor this policy named
  - {{id: files-read, effect: allow, action: [file.list, file.read, table.read], why: the run's own folder}}
  - {{id: files-write, effect: allow, action: [file.write, table.write],
     why: reports are delivered from the run's own folder}}
  - {{id: model, effect: allow, action: model.call, why: "the model of the settings, within this policy's limits"}}
"""
_SITE = """  - id: site-read
    effect: allow
    action: [browser.open, browser.read, browser.screenshot]
    url: "{site}/**"
    why: reading this site is the job
    match: ["{site}/orders/17"]
    not_match: ["{site}.evil.example/orders/17"]
"""
_SUBMIT = """  - id: site-send
    effect: ask
    ask: batch
    of: {{answers: 1, within: 24h, otherwise: skip}}
    action: browser.submit
    does: submit
    url: "{site}{submit}"
    limit: {{count: 30, per: day}}
    why: what is sent is sent in your name
    match: ["{site}{case}"]
    not_match: ["{site}.evil.example{case}"]
"""
_SERVER = """  - id: server-look
    effect: allow
    action: server.run
    server: {server}
    commands:
      - {{program: df, options: [-h], operands: none}}
      - {{program: free, options: [-h, -m]}}
      - {{program: uptime}}
    why: looking changes nothing
    match: [df -h, free -m, uptime]
    not_match: [reboot, uptime | sh, df -h /]
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What an interview gave; an empty answer leaves its rules out."""

    name: str
    site: str = ""
    """Scheme and host of a site that may be read."""
    submit: str = ""
    """A path of that site, such as `/orders/*/remind`, where forms may be sent after asking."""
    server: str = ""


def starter(answers: Answers) -> str:
    """The policy as YAML text. BadPolicy when an answer cannot stand in one."""
    parts, site = [_HEAD], answers.site.rstrip("/")
    try:
        canonical_url(f"{site}/") if site else None
    except ValueError as error:
        raise BadPolicy(f"{answers.site!r} is no site: {error}") from None
    if answers.submit and not site:
        raise BadPolicy("a path where forms may be sent needs the site; give both")
    parts += [_SITE] * bool(site) + [_SUBMIT] * bool(answers.submit) + [_SERVER] * bool(answers.server)
    case = answers.submit.replace("**", "17").replace("*", "17")
    told = {"name": answers.name, "site": site, "submit": answers.submit, "case": case, "server": answers.server}
    text = "".join(part.format(**told) for part in parts)
    loads(text, "the new policy")
    return text
