"""A map of voices: those that sound alike stand close together.

Distances are 1 - cosine of timbres (`voices.similarity`). The two coordinates keep them as well as two can (classical
scaling: W. S. Torgerson, Psychometrika 17, 1952); groups are joined by the mean of their distances (R. R. Sokal and C. D.
Michener, 1958) until they are JOIN apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.models.voices import Voice, similarity

Array = np.ndarray[Any, np.dtype[Any]]

JOIN = 0.8  # 1 - cosine: what is further apart on average is another group; strangers are about 1 apart


@dataclass(frozen=True, slots=True)
class Place:
    """Where a voice stands on the map."""

    name: str
    kind: str
    median_hz: float
    x: float
    y: float
    group: int  # from 0
    nearest: str  # the voice most like it; "" where there is no other
    similarity: float  # to that one, -1..1


def distances(voices: Sequence[Voice]) -> Array:
    """Return 1 - cosine of every pair, (n, n)."""
    table = np.array([[1 - similarity(a, b) for b in voices] for a in voices])
    np.fill_diagonal(table, 0.0)
    return np.asarray(np.maximum((table + table.T) / 2, 0.0))


def draw_up(voices: Sequence[Voice]) -> tuple[list[Place], float]:
    """Return every voice's place, and the share of the squared distances that two coordinates can show, 0..1."""
    table = distances(voices)
    xy, shown = scaled(table)
    groups = grouped(table)
    places = []
    for k, voice in enumerate(voices):
        others = [j for j in range(len(voices)) if j != k]
        nearest = min(others, key=lambda j: table[k, j]) if others else None
        places.append(
            Place(
                name=voice.name,
                kind=voice.kind,
                median_hz=voice.median_hz,
                x=float(xy[k, 0]),
                y=float(xy[k, 1]),
                group=groups[k],
                nearest=voices[nearest].name if nearest is not None else "",
                similarity=float(1 - table[k, nearest]) if nearest is not None else 0.0,
            )
        )
    return places, shown


def scaled(table: Array) -> tuple[Array, float]:
    """Return two coordinates for each row of a table of distances, and how much of it they show; signs are fixed."""
    n = len(table)
    centre = np.eye(n) - 1.0 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ table**2 @ centre)
    top = np.argsort(values)[::-1][:2]
    xy = np.zeros((n, 2))
    xy[:, : len(top)] = vectors[:, top] * np.sqrt(np.maximum(values[top], 0))
    xy *= np.where(xy[np.abs(xy).argmax(0), [0, 1]] < 0, -1.0, 1.0)
    positive = np.maximum(values, 0).sum()
    return xy, float(np.maximum(values[top], 0).sum() / positive) if positive > 0 else 1.0


def grouped(table: Array) -> list[int]:
    """Return the group of each row, numbered by first appearance."""
    groups = [[k] for k in range(len(table))]
    while len(groups) > 1:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
        i, j = min(pairs, key=lambda pair: table[np.ix_(groups[pair[0]], groups[pair[1]])].mean())
        if table[np.ix_(groups[i], groups[j])].mean() > JOIN:
            break
        groups[j] += groups.pop(i)
    order = sorted(groups, key=min)
    return [next(g for g, members in enumerate(order) if k in members) for k in range(len(table))]
