"""Nothing that is served makes a browser ask another host, and the server asks none either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi.testclient import TestClient

from soundsieve.studio import server
from soundsieve.studio.engine import Engine
from soundsieve.studio.store import Store

HERE = "http://127.0.0.1:7860"
FETCHING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "audio": "src", "video": "src"}
FETCHING |= {"source": "src", "embed": "src", "object": "data", "base": "href", "form": "action", "track": "src"}
IN_STYLES = re.compile(r"""(?:url\(\s*['"]?|@import\s+(?:url\()?['"]?)((?:https?:)?//[^\s'")]+)""")


class Fetched(HTMLParser):
    """The addresses that a browser goes to when it reads a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if (address := named.get(FETCHING.get(tag, ""))) is not None:
            self.found.append(urljoin(f"{HERE}/", address))
        self.found += [urljoin(f"{HERE}/", address) for address in IN_STYLES.findall(named.get("style") or "")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with Store(folder=tmp_path_factory.mktemp("studio")) as store:
        yield TestClient(server.build(Engine(store, "debug", start=False)), base_url=HERE)


@pytest.mark.parametrize("path", ["/", "/docs", "/?view=api", "/?__theme=dark"])
def test_pages_and_their_styles_are_from_here(path: str, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    addresses = Fetched(answer.text).found
    assert [address for address in addresses if not address.startswith(f"{HERE}/")] == []
    assert IN_STYLES.findall(answer.text) == []
    assert path == "/docs" or addresses, "the page has scripts and styles"
    for address in addresses:
        if urlsplit(address).path.endswith(".css"):
            styles = client.get(address.removeprefix(HERE))
            assert styles.status_code == 200
            assert IN_STYLES.findall(styles.text) == []
    assert IN_STYLES.findall(client.get("/theme.css").text) == []


def test_what_scripts_might_still_want_is_forbidden(client: TestClient) -> None:
    for path in ("/", "/docs", "/config", "/theme.css", "/health", "/nowhere", "/gradio_api/info"):
        policy = client.get(path).headers["content-security-policy"]
        assert not re.search(r"https?:|\*", policy), policy
        assert policy.startswith("default-src 'self'; ")


def test_the_page_says_that_it_reports_nothing(client: TestClient) -> None:
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["stylesheets"] == []
    assert config["run_history"] is False
    assert "fonts.g" not in str(config)


def test_the_test_sees_foreign_addresses() -> None:
    page = '<link rel="preconnect" href="https://fonts.example"><script src="//cdn.example/a.js"></script>'
    page += "<p style=\"background: url('https://img.example/a.png')\">"
    assert Fetched(page).found == ["https://fonts.example", "http://cdn.example/a.js", "https://img.example/a.png"]
    assert IN_STYLES.findall('@import "https://fonts.example/a.css";') == ["https://fonts.example/a.css"]
