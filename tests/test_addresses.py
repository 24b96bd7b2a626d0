"""Addresses, URLs, origins: each form is read exactly, any other refused in plain words."""

import pytest
from headgate_toml import refusal

from gateway import addresses
from gateway.addresses import Systemd, Tcp, Unix


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Tcp("127.0.0.1", 8080)),
        ("localhost:0", Tcp("localhost", 0)),
        ("[::]:65535", Tcp("::", 65535)),
        ("[2001:DB8::1]:80", Tcp("2001:db8::1", 80)),
        ("unix:/run/headgate.sock", Unix("/run/headgate.sock")),
        ("unix:/" + "x" * 106, Unix("/" + "x" * 106)),
        ("systemd:public", Systemd("public")),
    ],
)
def test_an_address_is_a_host_and_port_a_socket_file_or_a_systemd_name(text, address):
    assert addresses.address(text) == address
    assert str(address) == text.lower()


ADDRESS = 'expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME"'
HOST = "expected a valid IP address, or a host name"

BAD_ADDRESSES = {
    "": ADDRESS,
    "8080": ADDRESS,
    ":8080": ADDRESS,
    "localhost": ADDRESS,
    "localhost:": ADDRESS,
    "localhost:http": ADDRESS,
    "::1:8080": ADDRESS,
    "127.0.0.1:8080\n": ADDRESS,
    "host name:1": ADDRESS,
    "unix:8080": ADDRESS,
    "unix:run/x": ADDRESS,
    "unix:/a\0b": ADDRESS,
    "systemd:": ADDRESS,
    "systemd:a b": ADDRESS,
    "systemd:a:b": ADDRESS,
    "127.0.0.1:65536": "expected a port from 0 to 65535",
    "127.0.0.256:80": HOST,
    "127.1:80": HOST,
    "[127.0.0.1]:80": HOST,
    "[::1::]:80": HOST,
    "unix:/" + "x" * 107: "expected a socket path of at most 107 bytes",
    "unix:/" + "é" * 54: "expected a socket path of at most 107 bytes",
}


@pytest.mark.parametrize(("text", "message"), BAD_ADDRESSES.items())
def test_another_form_of_address_is_refused(text, message):
    assert refusal(addresses.address, text) == message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://api.openai.com/v1", ("https", "api.openai.com", 443, "/v1")),
        ("https://api.openai.com/v1/", ("https", "api.openai.com", 443, "/v1")),
        ("http://localhost", ("http", "localhost", 80, "")),
        ("HTTP://LocalHost:8000/", ("http", "localhost", 8000, "")),
        ("http://[::1]:8000/a/b", ("http", "::1", 8000, "/a/b")),
        ("http://model_server/x@y", ("http", "model_server", 80, "/x@y")),
    ],
)
def test_a_url_is_taken_apart(text, parts):
    url = addresses.url(text)

    assert (url.scheme, url.host, url.port, url.path) == parts
    assert repr(url) == f"Url{parts}"


URL = 'expected a URL such as "https://api.openai.com/v1"'
SCHEME = "expected a URL that begins with https:// or http://"
ASCII = "expected a URL of ASCII characters without spaces"
USER = "expected a URL without user and password (the key belongs in keys)"
QUERY = "expected a URL without query and fragment"
PORT = "expected a port from 1 to 65535"

BAD_URLS = {
    "": SCHEME,
    "api.openai.com/v1": SCHEME,
    "ftp://api.openai.com": SCHEME,
    "https:/api.openai.com": SCHEME,
    "https://": URL,
    "https:///v1": URL,
    "https://:443/v1": URL,
    "https://host:/v1": URL,
    "https://host:port/v1": URL,
    "https://host\\v1": URL,
    "https://::1/v1": URL,
    "https://[fe80::1%eth0]/": URL,
    "https://bücher.example/": ASCII,
    "https://host/v1 ": ASCII,
    "https://host/v1\r\nx: y": ASCII,
    "https://sk-key@host/v1": USER,
    "https://user:pass@host/v1": USER,
    "https://host/v1?key=sk": QUERY,
    "https://host/v1#": QUERY,
    "https://host?": QUERY,
    "https://host:0": PORT,
    "https://host:65536": PORT,
    "https://1.2.3.400/": HOST,
    "https://[1.2.3.4]/": HOST,
}


@pytest.mark.parametrize(("text", "message"), BAD_URLS.items())
def test_another_form_of_url_is_refused(text, message):
    assert refusal(addresses.url, text) == message


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("api.openai.com", False),
    ],
)
def test_loopback_is_what_no_other_machine_reaches(host, loopback):
    assert addresses.is_loopback(host) is loopback


def test_a_path_begins_with_a_slash_and_may_have_a_query():
    assert addresses.url_path("/health?deep=1") == "/health?deep=1"


@pytest.mark.parametrize("text", ["", "models", "/a b", "/a#b", "/a\r\nx: y", "/ü", "/" * 2002])
def test_another_form_of_path_is_refused(text):
    assert refusal(addresses.url_path, text) == 'expected a path such as "/models"'


ORIGINS = {
    "https://app.example.com": "https://app.example.com",
    "HTTPS://App.Example.com": "https://app.example.com",
    "https://app.example.com:443": "https://app.example.com",
    "http://app.example.com:443": "http://app.example.com:443",
    "http://127.0.0.1:03000": "http://127.0.0.1:3000",
    "http://[::1]:80": "http://[::1]",
    "http://[0:0::1]:81": "http://[::1]:81",
    "chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop",
}


@pytest.mark.parametrize(("text", "origin"), ORIGINS.items())
def test_an_origin_is_read_into_the_form_of_browsers(text, origin):
    assert addresses.origin(text) == origin
    assert addresses.origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "app.example.com", "https://", "https://a/", "https://a/b", "//a"),
        *("https://*.example.com", "https://u@a", "https://a?b", "https://a b", "https://ä.example"),
        *("file://a", "https://a:", "https://a\n", "https://a, https://b"),
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(text):
    wanted = 'expected an origin such as "https://app.example.com", without a path'

    assert refusal(addresses.origin, text) == wanted
