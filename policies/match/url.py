"""Patterns for urls; they look at canonical urls only (`policies.action.canonical_url`)."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from policies.action import Value, canonical_url
from policies.match.path import Glob, glob

DEFAULT_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """A canonical url, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    query: str


@lru_cache(maxsize=4096)
def place(url: str) -> Place:
    """The parts of a canonical `url`; ValueError for any other spelling."""
    if canonical_url(url) != url:
        raise ValueError(f"url {url!r} is not in canonical form")
    parts = urlsplit(url)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return Place(parts.scheme, parts.hostname or "", port, parts.path, parts.query)


class SubdomainOf(Value):
    """Every name below a domain, not the domain itself."""

    subdomain_of: str


class UrlPattern(Value):
    """Urls by their parts. Text such as `http://shop.example/orders/*` is read by `parse`.

    Without a scheme both http and https match; without a port only the scheme's own. The query is
    ignored unless `query` names its keys (each at most once, `any` for any value or none) or
    `no_query` forbids it.
    """

    scheme: Literal["http", "https"] | None = None
    host: str | SubdomainOf
    port: int | None = Field(default=None, ge=1, le=65535)
    path: str = "/**"
    query: dict[str, str] | None = None
    no_query: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pattern that `text` spells: a url whose path may hold `*` and `**`; ValueError if it is none."""
        return cls.model_validate(text)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        parts = urlsplit(given)
        if not parts.hostname or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"{given!r} is no url pattern such as http://shop.example/orders/*")
        query = dict(parse_qsl(parts.query, keep_blank_values=True)) if parts.query else None
        found = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port, "path": parts.path or "/"}
        return found | {"query": query}

    @model_validator(mode="after")
    def _canonical(self) -> Self:
        host = self.host if isinstance(self.host, str) else f"x.{self.host.subdomain_of}"
        if canonical_url(f"http://{host}/") != f"http://{host}/":
            raise ValueError(f"{host!r} is not a lower-case host name alone")
        glob(self.path)
        sample = f"http://h{self.path.replace('*', 'x')}"
        if canonical_url(sample) != sample or urlsplit(sample).query:
            raise ValueError(f"{self.path!r} is not a path such as /orders/*; percent-encode what is not ASCII")
        if self.no_query and self.query is not None:
            raise ValueError("give `query` or `no_query`, not both")
        return self

    @property
    def names_host(self) -> str | None:
        """The one host this pattern names; None when it stands for many."""
        return self.host if isinstance(self.host, str) else None

    @cached_property
    def glob(self) -> Glob:
        """The path as a pattern."""
        return glob(self.path)

    def matches(self, url: str) -> bool:
        """True when every part of the canonical `url` is inside the pattern."""
        to = place(url)
        return (
            self._has(to.host)
            and self.scheme in (None, to.scheme)
            and to.port == (self.port or DEFAULT_PORTS[to.scheme])
            and self.glob.matches(to.path)
            and self._query_fits(to.query)
        )

    def touches(self, url: str) -> bool:
        """True when host and path are inside, whatever the query, the port if none is named, and letter case."""
        to = place(url)
        port_fits = self.port in (None, to.port)
        return self._has(to.host) and self.scheme in (None, to.scheme) and port_fits and self.glob.touches(to.path)

    def _has(self, host: str) -> bool:
        return host == self.host if isinstance(self.host, str) else host.endswith("." + self.host.subdomain_of)

    def _query_fits(self, text: str) -> bool:
        if self.query is None:
            return not (self.no_query and text)
        given = parse_qsl(text, keep_blank_values=True)
        values = dict(given)
        return (
            len(values) == len(given)
            and values.keys() <= self.query.keys()
            and all(want == "any" or values.get(key) == want for key, want in self.query.items())
        )

    def __str__(self) -> str:
        host = self.host if isinstance(self.host, str) else f"*.{self.host.subdomain_of}"
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme or 'http(s)'}://{host}{port}{self.path}"
