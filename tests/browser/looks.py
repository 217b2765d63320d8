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
_CONTRAST = """
(() => {
  const parts = (color) => (color.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (color, below) => {
    const [r, g, b, alpha = 1] = parts(color);
    return [r, g, b].map((part, at) => part * alpha + below[at] * (1 - alpha));
  };
  const white = [255, 255, 255];
  const behind = (one) => one ? over(getComputedStyle(one).backgroundColor, behind(one.parentElement)) : white;
  const light = (color) => {
    const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const texts = document.createTreeWalker(document.querySelector("WITHIN"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.checkVisibility({opacityProperty: true})) continue;
    const back = behind(one), colors = [over(getComputedStyle(one).color, back), back];
    const [low, high] = colors.map(light).sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < LEAST) found.push(`${contrast.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 60)}`);
  }
  return found;
})()
"""


async def faults_of(tab: Tab, within: str = "body") -> list[str]:
    """What is wrong with the looks of the page as it is now, in the element that `within` selects.

    What can be scrolled sideways may be wider than the window.
    """
    overflow, contrast = (script.replace("WITHIN", within) for script in (_OVERFLOW, _CONTRAST))
    sticks_out: list[str] = await tab.evaluate(overflow)
    is_faint: list[str] = await tab.evaluate(contrast.replace("LEAST", str(LEAST_CONTRAST)))
    return [*sticks_out, *is_faint, *tab.problems]


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
