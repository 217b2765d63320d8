"""Whether a page can be read: nothing sticks out of the window, and texts stand out from what is behind them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser.chromium import Tab

PICTURES = Path(os.environ.get("PICTURES", "site/pictures"))
LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, for texts of ordinary size."""
SMALLEST_TEXT = 10
"""Pixels of the smallest text of a picture, as it is shown."""

_OVERFLOW = """
(() => {
  const width = document.documentElement.clientWidth, found = [];
  const whole = document.documentElement.scrollWidth;
  if (whole > width) found.push(`the page is ${whole} wide`);
  const scrolls = (one) => one && (/auto|scroll/.test(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
  for (const one of document.querySelectorAll("WITHIN *")) {
    if (scrolls(one)) continue;
    const box = one.getBoundingClientRect();
    const named = `${one.tagName} ${one.textContent.slice(0, 60)}`;
    if (box.width && (box.right > width + 0.5 || box.left < -0.5)) found.push(named);
    const block = getComputedStyle(one).display !== "inline";
    if (block && one.children.length === 0 && one.scrollWidth > one.clientWidth + 1) found.push(`cut off: ${named}`);
  }
  return found;
})()
"""
_COLOURS = """
  const parts = (color) => (color.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (color, below) => {
    const [r, g, b, alpha = 1] = parts(color);
    return [r, g, b].map((part, at) => part * alpha + below[at] * (1 - alpha));
  };
  const light = (color) => {
    const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (color, back) => {
    const [low, high] = [over(color, back), back].map(light).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const white = [255, 255, 255];
"""
_CONTRAST = """
(() => {
  COLOURS
  const behind = (one) => one ? over(getComputedStyle(one).backgroundColor, behind(one.parentElement)) : white;
  const found = [];
  const texts = document.createTreeWalker(document.querySelector("WITHIN"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.checkVisibility({opacityProperty: true})) continue;
    const seen = contrast(getComputedStyle(one).color, behind(one));
    if (seen < LEAST) found.push(`${seen.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 60)}`);
  }
  return found;
})()
"""
_PICTURES = """
(async () => {
  COLOURS
  const found = [];
  for (const image of document.querySelectorAll("WITHIN img")) {
    await image.decode();
    const file = await (await fetch(image.src)).text();
    document.body.append(new DOMParser().parseFromString(file, "image/svg+xml").documentElement);
    const drawn = document.body.lastElementChild, scale = image.clientWidth / drawn.viewBox.baseVal.width;
    const paper = over(getComputedStyle(drawn.querySelector("rect")).fill, white);
    for (const text of drawn.querySelectorAll("text")) {
      const style = getComputedStyle(text), size = parseFloat(style.fontSize) * scale;
      const named = `${image.src}: ${text.textContent}`;
      if (size < SMALLEST) found.push(`${size.toFixed(1)} px: ${named}`);
      if (contrast(style.fill, paper) < LEAST) found.push(`${contrast(style.fill, paper).toFixed(2)}: ${named}`);
    }
    drawn.remove();
  }
  return found;
})()
"""


async def faults_of(tab: Tab, within: str = "body") -> list[str]:
    """What is wrong with the looks of the page as it is now, in the element that `within` selects.

    What can be scrolled sideways may be wider than the window.
    """
    sticks_out: list[str] = await _found(tab, _OVERFLOW, within)
    is_faint: list[str] = await _found(tab, _CONTRAST, within)
    return [*sticks_out, *is_faint, *tab.problems]


async def faults_of_pictures(tab: Tab, within: str) -> list[str]:
    """Texts of the SVG pictures in there that are too small, as they are shown, or faint on the picture's paper."""
    return await _found(tab, _PICTURES, within)


async def _found(tab: Tab, script: str, within: str) -> list[str]:
    values = {"COLOURS": _COLOURS, "WITHIN": within, "LEAST": LEAST_CONTRAST, "SMALLEST": SMALLEST_TEXT}
    for name, value in values.items():
        script = script.replace(name, str(value))
    found: list[str] = await tab.evaluate(script)
    return found


def windows(desk: int) -> pytest.MarkDecorator:
    """Run a test in each window: `width` of a phone and of a desk, by day and `dark`."""
    found = [
        pytest.param(width, dark, id=f"{name}-dark" if dark else name)
        for width, name in ((400, "phone"), (desk, "desk"))
        for dark in (False, True)
    ]
    return pytest.mark.parametrize(("width", "dark"), found)


async def keep(tab: Tab, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    picture = await tab.screenshot()
    await asyncio.to_thread(PICTURES.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread((PICTURES / f"{name}.png").write_bytes, picture)
