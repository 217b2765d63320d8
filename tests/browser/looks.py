"""Whether a page can be read: nothing sticks out of the window, and texts stand out from what is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from browser.chromium import Tab

LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, for texts of ordinary size."""

_OVERFLOW = """
(() => {
  const width = document.documentElement.clientWidth, found = [];
  const whole = document.documentElement.scrollWidth;
  if (whole > width) found.push(`the page is ${whole} wide`);
  for (const one of document.querySelectorAll("body *")) {
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
  const rgb = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = (color) => {
    const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb(color).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor, alpha = rgb(color)[3];
      if (alpha === undefined || alpha > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.getClientRects().length) continue;
    const [low, high] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < LEAST) found.push(`${contrast.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 60)}`);
  }
  return found;
})()
"""


async def faults_of(tab: Tab) -> list[str]:
    """What is wrong with the looks of the page as it is now."""
    sticks_out: list[str] = await tab.evaluate(_OVERFLOW)
    is_faint: list[str] = await tab.evaluate(_CONTRAST.replace("LEAST", str(LEAST_CONTRAST)))
    return [*sticks_out, *is_faint, *tab.problems]
