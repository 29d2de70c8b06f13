"""What a scrape shows is what the engine counted; health tells the server's life from the engine's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import wait_until
from web_rig import STAGES, TONE_DBFS, Page, Rig, get, served, talk, tone_engine


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with tone_engine() as engine, served(engine, osc=True) as rig:
        yield rig


def scrape(rig: Rig) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the samples by name, each with its labels."""
    status, headers, text = get(rig, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def by(samples: list[tuple[dict[str, str], float]], label: str) -> dict[str, float]:
    return {labels[label]: value for labels, value in samples}


def test_counters_lie_between_two_readings_of_the_engine(rig: Rig) -> None:
    before = rig.engine.stats()
    shown = scrape(rig)
    after = rig.engine.stats()
    for name, field in (("frames", "frames"), ("cycles", "cycles"), ("xruns", "xruns"), ("deadline_misses", "misses")):
        ((labels, value),) = shown[f"autovoice_{name}_total"]
        assert getattr(before, field) <= value <= getattr(after, field)
        assert labels == {"name": "autovoice", "session": rig.conductor.session}
    assert by(shown["autovoice_events_total"], "result")["applied"] == after.events_applied
    assert shown["autovoice_latency_seconds"][0][1] == pytest.approx(after.latency_frames / after.sample_rate)
    assert by(shown["autovoice_level_dbfs"], "point")["in"] == pytest.approx(TONE_DBFS, abs=0.5)
    assert shown["autovoice_engine_info"][0][0]["chain"] == ",".join(STAGES)
    assert shown["autovoice_up"][0][1] == 1
    assert shown["autovoice_web_process_resident_memory_bytes"][0][1] > 0


def test_the_callback_histogram_counts_every_cycle_once(rig: Rig) -> None:
    before = rig.engine.stats()
    shown = scrape(rig)
    p50_us = [stats.callback_us.p50 for stats in (before, rig.engine.stats())]
    buckets = [(float(labels["le"]), value) for labels, value in shown["autovoice_callback_seconds_bucket"]]
    assert [le for le, _ in buckets] == sorted(le for le, _ in buckets)
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[-1][0] == float("inf")
    assert counts[-1] == shown["autovoice_callback_seconds_count"][0][1] >= before.cycles
    median_s = next(le for le, count in buckets if count >= counts[-1] / 2)
    below_s = max((le for le, _ in buckets if le < median_s), default=0.0)
    assert below_s * 0.97 <= max(p50_us) / 1e6
    assert min(p50_us) / 1e6 <= median_s * 1.03
    assert shown["autovoice_callback_seconds_sum"][0][1] > 0


def test_clients_moves_and_what_osc_counts_are_shown(rig: Rig) -> None:
    assert rig.conductor.osc is not None
    applied = rig.engine.stats().events_applied

    async def look(one: Page, other: Page) -> None:
        await one.say(type="set", values={"gate/threshold": -30.0})
        await other.until("gate/threshold", -30.0)

    talk(rig, look, pages=2)
    assert wait_until(lambda: rig.engine.stats().events_applied == applied + 1)
    assert wait_until(lambda: by(scrape(rig)["autovoice_web_clients"], "kind") == {"live": 0, "oscquery": 0})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"no OSC at all", ("127.0.0.1", rig.conductor.osc["port"]))
    assert wait_until(lambda: by(scrape(rig).get("autovoice_osc_total", []), "what").get("malformed") == 1)
    assert by(scrape(rig)["autovoice_osc_now"], "what")["subscribers"] == 0


def test_ready_while_the_driver_calls_and_alive_beyond_that(rig: Rig) -> None:
    """The last of this file: it stops the engine."""
    assert get(rig, "/healthz")[0] == 200
    status, _, body = get(rig, "/readyz")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert json.loads(body)["cycles"] > 0
    rig.engine.stop()
    assert wait_until(lambda: get(rig, "/readyz")[0] == 503)
    assert "no callback for" in json.loads(get(rig, "/readyz")[2])["status"]
    assert get(rig, "/healthz")[0] == 200
    assert scrape(rig)["autovoice_up"][0][1] == 0
