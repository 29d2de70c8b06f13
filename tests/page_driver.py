"""What the tests of the page share: the show that it belongs to, and questions to ask of a page in a browser."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor
from support import SAMPLE_RATE, wait_until

STAGES = ["highpass", "gate", "pitch", "compressor", "limiter"]
TOKEN = "stage-door"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
PATIENCE_S = 60.0  # with a machine that does much else
F0_HZ, AMPLITUDE = 220.0, 0.5  # A3 at -6 dBFS

HORIZONTAL = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CONTROLS = {"button", "combobox", "img", "link", "meter", "radio", "searchbox", "slider", "spinbutton", "switch", "textbox"}
ORDER = "keys => [...document.querySelectorAll('.card')].map((card) => card.dataset.key).join() === keys"
AT_HOME = """(keys) => [...document.querySelectorAll('.card')].map((card) => card.dataset.key).join() === keys.join()
  && !document.querySelector('[aria-pressed=true]') && document.querySelector('[aria-label="highpass slope"]').value === '0'
  && [...document.querySelectorAll('.card .fader')].every((fader) =>
    Math.abs(fader.style.getPropertyValue('--home') - fader.querySelector('[type=range]').value) < 1e-4)"""
CONTRAST = """() => {
  const bytes = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = bytes(getComputedStyle(at).backgroundColor);
      if ((colour[3] ?? 1) === 1) return colour;
    }
  };
  const faint = (element) => element && (getComputedStyle(element).opacity < 1 || faint(element.parentElement));
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!(text || element.matches("input, select")) || !element.checkVisibility() || element.matches(":disabled")) continue;
    const [one, other] = [bytes(getComputedStyle(element).color), ground(element)].map(luminance);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5 || faint(element)) poor.push(`${element.outerHTML.slice(0, 90)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""

BRIGHTEST_AT = """hz => {
  const canvas = document.querySelector('#spectrogram');
  const height = canvas.height - Math.round(16 * devicePixelRatio);
  const column = canvas.getContext('2d').getImageData(canvas.width - 8, 0, 1, height).data;
  const light = Array.from({ length: height }, (_, k) => column[4 * k] + column[4 * k + 1] + column[4 * k + 2]);
  const at = 1 - light.indexOf(Math.max(...light)) / height;
  return Math.abs(50 * 240 ** at / hz - 1) < 0.1;
}"""
"""Whether the newest column of the spectrogram, 50 Hz to 12 kHz, is brightest at a frequency."""


class Show:
    """A running engine with its page."""

    def __init__(self, engine: Engine, conductor: Conductor, port: int) -> None:
        self.engine, self.conductor = engine, conductor
        self.bare_url = f"http://127.0.0.1:{port}/"
        self.url = f"{self.bare_url}?token={TOKEN}"

    def keys(self) -> list[str]:
        return [placed.key for placed in self.engine.chain.placed]

    def value(self, path: str) -> float:
        return float(self.engine.processor.values[path])

    def reset(self) -> None:
        self.conductor.swap(Chain(STAGES), keep_state=False)
        self.engine.set_many({"master/mute": 0.0, "master/bypass": 0.0})


def sine() -> np.ndarray[Any, Any]:
    """Return a second of what the show hears."""
    return (AMPLITUDE * np.sin(2 * np.pi * F0_HZ * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def cards(page: Any) -> list[str]:
    return page.eval_on_selector_all(".card", "cards => cards.map((card) => card.dataset.key)")


def fader(page: Any, path: str) -> Any:
    return page.locator(f'[data-path="{path}"] input[type=range]')


def is_pressed(page: Any, name: str) -> bool:
    return page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == "true"


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait until JavaScript says true. Not by Playwright's own wait, whose eval the page's policy forbids."""
    assert wait_until(lambda: page.evaluate(expression, argument), PATIENCE_S), expression


def stroke(page: Any, slider: Any, x_px: float, y_px: float) -> None:
    """Put a finger on a slider, draw it somewhere and take it off."""
    finger = page.context.new_cdp_session(page)
    box = slider.bounding_box()
    x, y = box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        point = {"x": x + share * x_px, "y": y + share * y_px}
        kind = "touchMove" if share else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
