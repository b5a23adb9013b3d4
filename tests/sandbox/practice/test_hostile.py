from __future__ import annotations

import http.client
import socket

from sandbox.practice.world import Collected, World


def test_whatever_is_sent_is_kept(world: World) -> None:
    caller = http.client.HTTPConnection(*world.collect, timeout=5)
    caller.request("POST", "/in?a=1", "名单".encode(), {"Host": "collect.example"})
    assert caller.getresponse().read().startswith(b"<!doctype html>")
    caller.request("BREW", "/odd[path", headers={"X-Made": "up"})
    assert caller.getresponse().read()
    caller.request(
        "PUT", "/chunked", iter([b"one ", b"two"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    caller.getresponse().read()
    caller.close()

    first, second, third = world.collected()
    assert (first.method, first.path, first.query, first.body) == ("POST", "/in", "a=1", "名单")
    assert first.headers["Host"] == "collect.example"
    assert (second.method, second.path, second.headers["X-Made"]) == ("BREW", "/odd[path", "up")
    assert (third.method, third.body) == ("PUT", "one two")


def test_bytes_that_are_no_request_are_kept_too(world: World) -> None:
    with socket.create_connection(world.collect, timeout=5) as caller:
        caller.sendall(b"\x16\x03\x01 secret 19900000101\n")
        caller.recv(1024)

    [kept] = world.collected()
    assert kept == Collected(method="", path="", query="", headers={}, body=kept.body)
    assert "19900000101" in kept.body


def test_a_connection_without_a_byte_counts_for_nothing(world: World) -> None:
    socket.create_connection(world.collect, timeout=5).close()
    caller = http.client.HTTPConnection(*world.collect, timeout=5)
    caller.request("GET", "/")
    caller.getresponse().read()
    caller.close()

    assert len(world.collected()) == 1
