"""The sound does not depend on how a driver cuts time into blocks: not by one bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain
from hypothesis import given, settings
from hypothesis import strategies as st
from support import DEMO, Audio, Crank, events_for

CHAINS = {name: [name] for name in stage_names()} | {"demo": DEMO, "reversed": DEMO[::-1]}
FRAMES = 24_000
cuts = st.lists(st.one_of(st.integers(1, 5), st.integers(1, 200), st.integers(1, 8192)), min_size=1, max_size=30)


def stereo(speech: Audio) -> Audio:
    """Return half a second of speech, a little later on the right."""
    return np.stack([speech[30_000 : 30_000 + FRAMES], speech[29_950 : 29_950 + FRAMES]])


def run(chain: Chain, sound: Audio, how: int | list[int], seed: int) -> Audio:
    """Run a sound in blocks, with forty random moves (bypasses and the engine's own among them) on the way."""
    crank = Crank(chain, ins=2)
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, FRAMES, 40)
    for event in events_for(chain, frames[:36], rng):
        crank.processor.send([(event.path, event.value)], event.frame)
    for frame, path, value in zip(frames[36:], ("input", "output", "mix", "mute"), (6.0, -6.0, 0.5, 1.0), strict=True):
        crank.processor.send([(f"master/{path}", value)], int(frame))
    return crank.run(sound, how)


@pytest.mark.parametrize("name", CHAINS)
def test_every_cutting_gives_the_same_bits_with_stereo_and_moving_parameters(name: str, speech: Audio) -> None:
    chain, sound = Chain(CHAINS[name]), stereo(speech)

    @settings(max_examples=12, deadline=None)
    @given(cuts, st.integers(0, 1 << 30))
    def check(sizes: list[int], seed: int) -> None:
        assert np.array_equal(run(chain, sound, sizes, seed), run(chain, sound, 64, seed))

    check()


@pytest.mark.parametrize("block", [1, 7, 32, 63, 65, 441, 480, 1024, 8192])
def test_render_gives_the_same_bits_for_every_block_size(block: int, speech: Audio) -> None:
    chain, sound = Chain(DEMO), stereo(speech)
    events = events_for(chain, np.arange(0, FRAMES, 997), np.random.default_rng(8))
    expected = chain.render(sound, sample_rate=48_000, block=64, events=events)
    assert np.array_equal(chain.render(sound, sample_rate=48_000, block=block, events=events), expected)


def test_a_stage_that_counts_calls_would_be_caught(stage_file: Callable[[str, str], str], speech: Audio) -> None:
    """The negative control: a stage whose sound follows its calls and not its frames."""
    path = stage_file(
        "counts_calls",
        '''
        """Turn the sign round at every call."""
        STATE = [("calls", "i8")]


        def process(s, p, x, block):
            s[0].calls += 1
            if s[0].calls & 1:
                for c in range(block.channels):
                    for i in range(block.frames):
                        x[c, i] = -x[c, i]
        ''',
    )
    chain, sound = Chain([path]), stereo(speech)
    assert not np.array_equal(run(chain, sound, 64, 1), run(chain, sound, 100, 1))


def test_process_never_sees_more_than_a_segment_nor_across_one(stage_file: Callable[[str, str], str], speech: Audio) -> None:
    path = stage_file(
        "measures_calls",
        '''
        """Keep the longest run of frames and count those that cross a multiple of 64."""
        STATE = [("longest", "i8"), ("crossings", "i8"), ("next", "i8"), ("gaps", "i8")]


        def process(s, p, x, block):
            s[0].longest = max(s[0].longest, block.frames)
            s[0].crossings += block.frame // 64 != (block.frame + block.frames - 1) // 64
            s[0].gaps += block.frame != s[0].next
            s[0].next = block.frame + block.frames
        ''',
    )
    crank = Crank(Chain([path]), ins=2)
    crank.run(stereo(speech), [8192, 1, 63, 100, 64, 441])
    state = crank.processor.image.states[0][0]
    assert (state["longest"], state["crossings"], state["gaps"], state["next"]) == (64, 0, 0, FRAMES)
