"""How loud speech is, in LUFS (ITU-R BS.1770), and speech at a wanted loudness.

A whole recording gets exactly the loudness. A stream gets it nearly, since its gain is known before
its end: it begins with the loudness of its first second, then follows all that was heard. True
peaks stay below -1 dB: where the gain would lift them above, it bends down around them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

QUIETEST, LOUDEST = -60.0, -5.0  # LUFS that may be asked for
CEILING = 10 ** (-1 / 20)  # of true peaks
BLOCK, HOP = 0.4, 0.1  # seconds over which loudness is measured
SILENT, BELOW = -70.0, -10.0  # the gates: absolute, and relative to the rest
BEND = 0.005  # seconds before and behind a peak over which the gain bends
FIRST = 1.0  # seconds that a stream hears before it gives anything
STRONGEST = 10 ** (40 / 20)  # gain: what is more quiet is no speech
TAPS = 12  # on each side, of what finds the peaks between samples


def check_loudness(loudness: float, name: str = "loudness") -> None:
    """Refuse what is no loudness of speech."""
    if not QUIETEST <= loudness <= LOUDEST:
        raise ValueError(f"{name} {loudness:g}: give LUFS from {QUIETEST:g} to {LOUDEST:g}, as -16")


def weighting(sample_rate: int) -> np.ndarray:
    """The filter of BS.1770 at a sample rate, as second-order sections [2, 6]: what the head does
    to high sounds, and how little low ones are heard."""
    sections = []
    for shelf, corner, q in ((True, 1681.974450955533, 0.7071752369554196),
                             (False, 38.13547087602444, 0.5003270373238773)):  # fmt: skip
        k = np.tan(np.pi * corner / sample_rate)
        a0 = 1 + k / q + k * k
        b = [1.0, -2.0, 1.0]
        if shelf:
            high = 10 ** (3.999843853973347 / 20)
            band = high**0.4996667741545416
            b = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
            b = [value / a0 for value in b]
        sections.append([*b, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    return np.array(sections)


class Meter:
    """The loudness of what was heard so far."""

    def __init__(self, sample_rate: int) -> None:
        self._filter = weighting(sample_rate)
        self._memory = np.zeros((2, 2))
        self._hop = round(HOP * sample_rate)
        self._pending = np.zeros(0)  # weighted and squared samples of a hop that is not full
        self._hops: list[float] = []  # mean squares

    def add(self, wave: np.ndarray) -> None:
        """More samples [T]."""
        if not len(wave):
            return
        from scipy.signal import sosfilt

        weighted, self._memory = sosfilt(self._filter, wave, zi=self._memory)
        squares = np.concatenate([self._pending, np.square(weighted)])
        full = len(squares) // self._hop * self._hop
        self._hops += list(squares[:full].reshape(-1, self._hop).mean(axis=1))
        self._pending = squares[full:]

    def loudness(self) -> float:
        """In LUFS; minus infinity of silence. What is shorter than a block is one."""
        several = round(BLOCK / HOP)
        if len(self._hops) >= several:
            power = np.convolve(self._hops, np.ones(several) / several, "valid")
        else:
            samples = len(self._hops) * self._hop + len(self._pending)
            total = sum(self._hops) * self._hop + self._pending.sum()
            power = np.array([total / samples if samples else 0.0])
        power = power[power > _power(SILENT)]
        if not power.size:
            return -np.inf
        power = power[power > power.mean() * 10 ** (BELOW / 10)]
        return float(_loudness(power.mean()))


def measure(wave: np.ndarray, sample_rate: int) -> float:
    """The loudness of a recording [T] in LUFS."""
    meter = Meter(sample_rate)
    meter.add(np.asarray(wave, np.float64))
    return meter.loudness()


def _loudness(power: float) -> float:
    return -0.691 + 10 * np.log10(power)


def _power(loudness: float) -> float:
    return 10 ** ((loudness + 0.691) / 10)


def peaks(wave: np.ndarray) -> np.ndarray:
    """The true peak around each sample of [T], found at four times the rate."""
    from scipy.signal import upfirdn

    at = np.arange(-4 * TAPS, 4 * TAPS + 1) / 4
    filter = np.sinc(at) * np.kaiser(len(at), 6.0)
    fine = upfirdn(filter, wave, up=4)[4 * TAPS :][: 4 * len(wave)]
    between = np.abs(fine.reshape(-1, 4)).max(axis=1)  # from each sample up to the next
    return np.maximum(np.maximum(between, np.append(0.0, between[:-1])), np.abs(wave))


def bend(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """A wave [T] with its true peaks below the ceiling: it is more quiet around those above."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    if not len(wave):
        return wave
    gain = np.minimum(1.0, CEILING / np.maximum(peaks(wave), 1e-9))
    if gain.min() == 1.0:
        return wave
    size = 2 * round(BEND * sample_rate) + 1
    # The mean of minima that all reach the peak is no more than what the peak needs.
    return wave * uniform_filter1d(minimum_filter1d(gain, size), size)


def levelled(wave: np.ndarray, sample_rate: int, loudness: float) -> np.ndarray:
    """A whole recording [T] at a loudness; silence as it is."""
    wave = np.asarray(wave, np.float64)
    gain, result = 1.0, wave
    for _ in range(8):  # where peaks bend down, the rest must be a little louder
        measured = measure(result, sample_rate)
        if measured == -np.inf or (gain != 1.0 and abs(loudness - measured) < 0.01):
            break
        gain = min(gain * 10 ** ((loudness - measured) / 20), STRONGEST)
        result = bend(gain * wave, sample_rate)
    return result.astype(np.float32)


class Levelling:
    """A stream on its way to a loudness, whatever the sizes of its blocks."""

    def __init__(self, sample_rate: int, loudness: float) -> None:
        self._rate = sample_rate
        self._loudness = loudness
        self._meter = Meter(sample_rate)
        self._hop, self._lead = round(HOP * sample_rate), round(FIRST * sample_rate)
        self._gains = (0.0, 0.0)  # at the beginning of a hop and at its end
        self._at = 0  # samples at their gain
        self._first = np.zeros(0)  # samples that wait for the first gain
        self._held = np.zeros(0)  # louder or softer already; some were given, the rest follows
        self._given = 0
        self._reach = 2 * round(BEND * sample_rate) + TAPS + 1  # of a peak, in samples

    def add(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples in, samples out, a few milliseconds later."""
        if self._at == 0:
            block = self._first = np.concatenate([self._first, block])
            if len(block) < self._lead and not last:
                return block[:0]
            self._meter.add(block[: self._lead])
            self._gains = (self._wanted(), self._wanted())
        held = np.concatenate([self._held, self._at_gain(block)])
        end = len(held) if last else max(self._given, len(held) - self._reach)
        given = bend(held, self._rate)[self._given : end]
        begins = max(0, end - self._reach)  # what comes before still bends what follows
        self._held, self._given = held[begins:], end - begins
        return given.astype(np.float32)

    def _wanted(self) -> float:
        measured = self._meter.loudness()
        if measured == -np.inf:
            return self._gains[1] or 1.0
        return min(10 ** ((self._loudness - measured) / 20), STRONGEST)

    def _at_gain(self, block: np.ndarray) -> np.ndarray:
        """The block at the gain that its stream wants, to which it goes at 3 dB a second."""
        louder, at = np.zeros(len(block)), 0
        while at < len(block):
            within = self._at % self._hop
            if within == 0:
                before, most = self._gains[1], 10 ** (3 * HOP / 20)
                self._gains = (before, min(max(self._wanted(), before / most), before * most))
            part = block[at : at + self._hop - within]
            slope = (within + np.arange(len(part))) / self._hop
            louder[at : at + len(part)] = part * np.interp(slope, (0, 1), self._gains)
            if self._at >= self._lead:
                self._meter.add(part)
            at, self._at = at + len(part), self._at + len(part)
        return louder


def stream(blocks: Iterable[Any], sample_rate: int, loudness: float) -> Iterator[Any]:
    """Blocks of a stream at nearly a loudness. A None among them goes through."""
    levelling = Levelling(sample_rate, loudness)
    for block in blocks:
        given = None if block is None else levelling.add(block)
        if given is None or given.size:
            yield given
    given = levelling.add(np.zeros(0, np.float32), last=True)
    if given.size:
        yield given
