"""What a page has to be for those who do not see it well, or use no mouse: measured in the browser that shows it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CONTROLS = {"button", "checkbox", "combobox", "link", "listbox", "menuitem", "radio", "searchbox", "slider"}
CONTROLS |= {"spinbutton", "switch", "tab", "textbox"}
PICTURES = {"image", "img"}


def nameless(page: Page) -> list[str]:
    """Controls and pictures that the browser tells a screen reader of without a name.

    Drawings (svg) are left out: Gradio puts some beside its words, and what is a control is one as its button.
    """
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node["ignored"] or role not in CONTROLS | PICTURES:
            continue
        if not str(node.get("name", {}).get("value", "")).strip():
            shown = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"]
            if shown["localName"] != "svg":
                found.append(f"{role}: <{shown['localName']} {' '.join(shown.get('attributes', []))}>")
    session.detach()
    return found


# Text against what is behind it, by WCAG 2.2, section 1.4.3. Relative luminance:
#     L = 0.2126 R + 0.7152 G + 0.0722 B, each channel c linear: c / 12.92 up to 0.04045, else ((c + 0.055) / 1.055)^2.4
# and the contrast is (L_light + 0.05) / (L_dark + 0.05): at least 4.5, or 3 for text of 24 px, or bold of 18.66 px.
FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  canvas.canvas.width = canvas.canvas.height = 1;
  const rgba = (colour) => {  // any notation, as numbers
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const probe = document.createElement("p");  // what is behind a page that says nothing of it
  probe.style.background = "Canvas";
  document.body.append(probe);
  const ground = rgba(getComputedStyle(probe).backgroundColor).slice(0, 3);
  probe.remove();
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.backgroundImage !== "none" && rgba(style.backgroundColor)[3] < 1) return null;  // a picture
      layers.push(rgba(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), ground);
  };
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const found = [];
  let measured = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest("[disabled], [aria-disabled=true], script, style, noscript, option")) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;  // for screen readers alone
    const below = behind(element);
    if (!below) continue;
    const style = getComputedStyle(element);
    const colour = over(rgba(style.color), below);
    const [a, b] = [luminance(colour), luminance(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    measured += 1;
    if (ratio < needed) {
      const name = `${element.tagName.toLowerCase()}.${String(element.className).split(" ").slice(0, 2).join(".")}`;
      const colours = `rgb(${colour.map(Math.round)}) on rgb(${below.map(Math.round)})`;
      found.push(`${ratio.toFixed(2)} < ${needed}: "${text.slice(0, 40)}" in ${name}, ${colours}`);
    }
  }
  return {found, measured};
}"""


def faint(page: Page) -> list[str]:
    """Texts with too little contrast; fails if there was no text at all to measure."""
    result = page.evaluate(FAINT)
    assert result["measured"] > 5
    return list(result["found"])


def too_wide(page: Page) -> list[str]:
    """What reaches past the right edge of the window, whether one can scroll there or it is cut off.

    What lies in something that scrolls by itself, and does not reach past the edge, may be wider.
    """
    return list(
        page.evaluate(
            """() => {
              const width = document.documentElement.clientWidth;
              const scrolls = (one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
              const reaches = (one) => one.getBoundingClientRect().right > width + 1;
              const found = [...document.body.querySelectorAll("*")].filter((one) => {
                if (!one.checkVisibility() || !reaches(one)) return false;
                for (let over = one.parentElement; over; over = over.parentElement) {
                  if (over !== document.body && scrolls(over) && !reaches(over)) return false;
                }
                return true;
              });
              if (document.scrollingElement.scrollWidth > width) found.push(document.documentElement);
              return found.map((one) => `${one.tagName.toLowerCase()}#${one.id}.${one.className}`).slice(0, 10);
            }"""
        )
    )


def focus_is_seen(page: Page) -> bool:
    """Whether what has the focus looks other than without it: a ring, a shadow or another border."""
    return bool(
        page.evaluate(
            """() => {
              const one = document.activeElement;
              const around = [one, one.parentElement, one.closest("label"), one.closest(".block")].filter(Boolean);
              const look = () => around.map((each) => {
                const s = getComputedStyle(each);
                return [s.outlineStyle, s.outlineWidth, s.outlineColor, s.boxShadow, s.borderColor].join();
              }).join("|");
              const still = document.createElement("style");
              still.textContent = "* { transition: none !important }";
              document.head.append(still);
              const focused = look();
              one.blur();
              const blurred = look();
              one.focus({focusVisible: true});
              still.remove();
              return focused !== blurred;
            }"""
        )
    )
