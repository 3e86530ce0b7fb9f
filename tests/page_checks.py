"""What every page has to keep: it parses, it stands alone, and what it refers to is there."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr", "source"}
REFERS = ("href", "xlink:href", "aria-labelledby", "for")


class Page(HTMLParser):
    """A page that was read: its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []
        self._check(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.texts.setdefault(tag, []).append(data)

    def values(self, attribute: str) -> list[str]:
        return [
            value for _, attributes in self.tags for name, value in attributes.items() if name == attribute and value
        ]

    def text(self, tag: str) -> str:
        return " ".join(self.texts.get(tag, []))

    def _check(self, text: str) -> None:
        ids = self.values("id")
        assert len(ids) == len(set(ids))
        for attribute in REFERS:
            for value in self.values(attribute):
                if not value.startswith("data:"):
                    assert value.removeprefix("#") in ids, f"{attribute} refers to {value}"
        assert all(value.startswith("data:") for value in self.values("src"))
        assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in self.tags}
        assert not any(name.startswith("on") for _, attributes in self.tags for name in attributes)
        styles = [*self.values("style"), *self.texts.get("style", [])]
        assert not any("url(" in style.replace("url(#", "") or "@import" in style for style in styles)
        assert "default-src 'none'" in "".join(self.values("content"))
        for reference in ("http://", "https://", "//www"):
            assert reference not in text
