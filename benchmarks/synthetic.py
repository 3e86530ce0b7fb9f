"""Sounds made by rules, for labels that rules can make: what `search.py` adds to training to see whether it helps.

Every function takes a generator of random numbers and a sample rate in Hz, and returns samples, shape ``(T,)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Sound = Callable[[np.random.Generator, int], Samples]


def _time(rng: np.random.Generator, rate: int, low_s: float, high_s: float) -> Samples:
    return np.arange(int(rate * rng.uniform(low_s, high_s))) / rate


def _noise(rng: np.random.Generator, t: Samples, low_hz: float, high_hz: float, tilt: float = 0.0) -> Samples:
    """Noise between two frequencies, tilted by so many dB an octave."""
    rate = 1.0 / (t[1] - t[0])
    hz = np.fft.rfftfreq(len(t), 1 / rate)
    gain = ((hz >= low_hz) & (hz <= high_hz)) * np.maximum(hz, 20.0) ** (tilt / 6.02)
    made: Samples = np.fft.irfft(gain * np.fft.rfft(rng.normal(size=len(t))), len(t))
    return made / max(float(np.sqrt(np.square(made).mean())), 1e-12)


def _slow(rng: np.random.Generator, t: Samples, every_s: float) -> Samples:
    """A smooth random curve between 0 and 1 with a knot every so many seconds."""
    knots = max(2, int(t[-1] / every_s) + 2)
    return np.interp(t, np.linspace(0, t[-1], knots), rng.uniform(0, 1, knots))


def _tone(t: Samples, hz: Samples | float, shape: str = "sine") -> Samples:
    phase = np.cumsum(np.broadcast_to(hz, t.shape)) * (t[1] - t[0])
    if shape == "square":
        return np.sign(np.sin(2 * np.pi * phase))
    if shape == "saw":
        return 2 * (phase % 1) - 1
    return np.sin(2 * np.pi * phase)


def _struck(rng: np.random.Generator, t: Samples, base_hz: float, ratios: list[float], decay_s: float) -> Samples:
    parts = [
        rng.uniform(0.3, 1) * np.sin(2 * np.pi * base_hz * ratio * t) * np.exp(-t * (1 + 0.5 * i) / decay_s)
        for i, ratio in enumerate(ratios)
    ]
    return np.sum(parts, 0)


def _scattered(rng: np.random.Generator, t: Samples, grain: Callable[[], Samples], a_second: float) -> Samples:
    out = np.zeros(len(t))
    for _ in range(max(1, int(a_second * t[-1]))):
        piece, start = grain(), int(rng.integers(len(t)))
        piece = piece[: len(t) - start]
        out[start : start + len(piece)] += piece * rng.uniform(0.1, 1) ** 2
    return out


def beep(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 1, 4)
    period, share = rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.7)
    return _tone(t, rng.uniform(500, 4000), rng.choice(["sine", "square"])) * ((t / period) % 1 < share)


def alarm(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 2, 5)
    low, high, period = rng.uniform(500, 1200), rng.uniform(1300, 3000), rng.uniform(0.1, 0.6)
    return _tone(t, np.where((t / period) % 2 < 1, low, high), rng.choice(["sine", "square"]))


def siren(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * t / rng.uniform(0.4, 5.0))
    return _tone(t, rng.uniform(400, 700) * (1 + rng.uniform(0.6, 1.5) * swing), rng.choice(["sine", "saw"]))


def buzzer(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.5, 3)
    return _tone(t, rng.uniform(80, 400), rng.choice(["square", "saw"])) + 0.2 * _noise(rng, t, 100, 4000)


def rain(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)

    def drop() -> Samples:
        u = np.arange(int(rate * 0.02)) / rate
        return np.sin(2 * np.pi * rng.uniform(800, 6000) * u) * np.exp(-u / rng.uniform(0.001, 0.005))

    hiss = _noise(rng, t, rng.uniform(200, 1500), rng.uniform(8000, 15000), rng.uniform(-4, 0))
    return hiss * (0.8 + 0.2 * _slow(rng, t, 1)) + rng.uniform(1, 6) * _scattered(rng, t, drop, rng.uniform(20, 200))


def wind(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 5, 9)
    gusts = [_noise(rng, t, hz, hz * 1.5, -3) * _slow(rng, t, rng.uniform(0.5, 2)) ** 2 for hz in (120, 250, 500, 900)]
    return np.sum(gusts, 0) + 0.2 * _noise(rng, t, 30, 400, -6)


def waves(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 6, 10)
    swell = (0.5 - 0.5 * np.cos(2 * np.pi * (t / rng.uniform(4, 9) + rng.uniform()))) ** 2
    return _noise(rng, t, 50, 10000, rng.uniform(-5, -2)) * (0.15 + swell)


def waterfall(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 5, 9)
    return _noise(rng, t, rng.uniform(50, 300), 14000, rng.uniform(-4, -1)) * (0.9 + 0.1 * _slow(rng, t, 0.3))


def bubbles(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 6)

    def bubble() -> Samples:
        u = np.arange(int(rate * rng.uniform(0.03, 0.1))) / rate
        rise = rng.uniform(300, 1500) * (1 + rng.uniform(2, 10) * u)
        return _tone(u, rise) * np.exp(-u / 0.03)

    return _scattered(rng, t, bubble, rng.uniform(5, 40))


def drip(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 6)

    def drop() -> Samples:
        u = np.arange(int(rate * 0.12)) / rate
        return _tone(u, rng.uniform(700, 2500) * (1 + 3 * u)) * np.exp(-u / rng.uniform(0.01, 0.04))

    return _scattered(rng, t, drop, rng.uniform(1, 3))


def fire(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)

    def crack() -> Samples:
        u = np.arange(int(rate * 0.02)) / rate
        return rng.normal(size=len(u)) * np.exp(-u / rng.uniform(0.0005, 0.004))

    return 0.1 * _noise(rng, t, 30, 1000, -6) + _scattered(rng, t, crack, rng.uniform(10, 60))


def clapping(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 7)

    def clap() -> Samples:
        u = np.arange(int(rate * 0.05)) / rate
        low = rng.uniform(500, 1500)
        return _noise(rng, u, low, low * 3) * np.exp(-u / rng.uniform(0.004, 0.015))

    return _scattered(rng, t, clap, rng.uniform(60, 400))


def ticking(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    beat, out = rng.uniform(0.2, 1.0), np.zeros(len(t))
    tick, tock = (_struck(rng, t[: rate // 20], rng.uniform(1500, 5000), [1, 2.7, 4.1], 0.006) for _ in range(2))
    for number, start in enumerate(np.arange(rng.uniform(0, beat), t[-1] - 0.1, beat)):
        piece, first = (tick, tock)[number % 2], int(start * rate)
        out[first : first + len(piece)] += piece[: len(out) - first]
    return out


def thunder(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    strike = np.exp(-np.maximum(t - rng.uniform(0, 1), 0) / rng.uniform(0.5, 2))
    return _noise(rng, t, 20, rng.uniform(200, 1500), -6) * strike * (0.3 + _slow(rng, t, 0.2))


def engine(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    hz = rng.uniform(18, 60) * (1 + 0.3 * _slow(rng, t, 1.5))
    pulses = np.maximum(_tone(t, hz), 0) ** rng.uniform(2, 8)
    return pulses * (1 + 0.5 * _noise(rng, t, 50, 1500, -3)) + 0.2 * _noise(rng, t, 30, 3000, -4)


def motor(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 7)
    hz = rng.uniform(90, 500) * (1 + 0.1 * _slow(rng, t, 1.0))
    hum = sum(rng.uniform(0, 1) / n * _tone(t, hz * n) for n in range(1, 9))
    return hum + rng.uniform(0.2, 1.5) * _noise(rng, t, 300, rng.uniform(4000, 14000), rng.uniform(-4, 0))


def helicopter(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    blades = np.maximum(np.sin(2 * np.pi * rng.uniform(9, 25) * t), 0) ** 3
    return _noise(rng, t, 30, rng.uniform(500, 4000), -4) * (0.15 + blades)


def whoosh(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.3, 1.2)
    arch = np.maximum(np.sin(np.pi * t / t[-1]), 0) ** rng.uniform(1, 4)
    low, high = _noise(rng, t, 200, 1500), _noise(rng, t, 1500, 9000)
    return arch * (low * (1 - arch) + high * arch)


def hiss(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.5, 4)
    edge = np.minimum(1, np.minimum(t, t[-1] - t) / 0.05)
    return _noise(rng, t, rng.uniform(1000, 4000), 15000, rng.uniform(-2, 3)) * edge


def bell(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 2, 5)
    return _struck(rng, t, rng.uniform(200, 1200), [0.5, 1, 1.19, 1.56, 2, 2.51, 2.66, 3.01, 4.1], rng.uniform(0.5, 2))


def gong(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 4, 8)
    return _struck(rng, t, rng.uniform(60, 180), list(1 + np.cumsum(rng.uniform(0.2, 0.7, 20))), rng.uniform(1, 3))


def theremin(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 7)
    glide = 200.0 * 2 ** (3 * _slow(rng, t, 0.7))
    return _tone(t, glide * (1 + 0.02 * np.sin(2 * np.pi * rng.uniform(4, 7) * t)))


def bass_drum(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.3, 0.8)
    return _tone(t, 45 + rng.uniform(40, 150) * np.exp(-t / 0.03)) * np.exp(-t / rng.uniform(0.08, 0.3))


def snare(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.2, 0.6)
    skin = np.sin(2 * np.pi * rng.uniform(150, 250) * t) * np.exp(-t / 0.05)
    return skin + 0.7 * _noise(rng, t, 1500, 12000) * np.exp(-t / rng.uniform(0.04, 0.12))


def hi_hat(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.1, 0.6)
    return _noise(rng, t, rng.uniform(5000, 8000), 15500) * np.exp(-t / rng.uniform(0.02, 0.2))


def ringing(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 6)
    pair, on = rng.uniform(400, 1500, 2), (t / rng.uniform(1.5, 4)) % 1 < 0.5
    return (_tone(t, pair[0]) + _tone(t, pair[1])) * (1 + np.sin(2 * np.pi * rng.uniform(15, 25) * t)) * on


def bee(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 2, 6)
    hz = rng.uniform(150, 280) * (1 + 0.15 * _slow(rng, t, 0.3))
    return _tone(t, hz, "saw") * (0.2 + _slow(rng, t, 0.5))


def mosquito(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 2, 6)
    hz = rng.uniform(400, 800) * (1 + 0.1 * _slow(rng, t, 0.3))
    return _tone(t, hz, "saw") * (0.1 + _slow(rng, t, 0.5))


def cricket(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 3, 7)
    chirp = (np.sin(2 * np.pi * rng.uniform(20, 50) * t) > 0) * ((t / rng.uniform(0.4, 1)) % 1 < 0.5)
    return _tone(t, rng.uniform(3000, 6000)) * chirp


def horn(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.5, 3)
    low = rng.uniform(300, 450)
    return _tone(t, low, "saw") + _tone(t, low * rng.choice([1.2, 1.25, 1.26]), "saw")


def ship(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 2, 5)
    low = rng.uniform(70, 180)
    return (_tone(t, low, "saw") + 0.5 * _tone(t, low * 1.5, "saw")) * np.minimum(1, t / 0.3)


def slide(rng: np.random.Generator, rate: int) -> Samples:
    t = _time(rng, rate, 0.5, 2)
    start, end = rng.uniform(500, 1000), rng.uniform(1500, 3000)
    path = np.geomspace(*((start, end) if rng.random() < 0.5 else (end, start)), len(t))
    return _tone(t, path) + 0.05 * _noise(rng, t, 1000, 8000)


SOUNDS: dict[str, Sound] = {
    "alarm": alarm, "applause": clapping, "bass drum": bass_drum, "bee buzzing": bee, "beep": beep, "bell": bell,
    "bubbles": bubbles, "buzzer": buzzer, "car engine": engine, "car horn": horn, "clock tick": ticking,
    "cricket": cricket, "electric motor": motor, "fire crackling": fire, "gong": gong, "helicopter": helicopter,
    "hi-hat": hi_hat, "machinery": motor, "mosquito": mosquito, "motorcycle": engine, "rain": rain, "sea waves": waves,
    "ship horn": ship, "siren": siren, "slide whistle": slide, "snare drum": snare, "spray can": hiss,
    "steam hiss": hiss, "telephone ringing": ringing, "theremin": theremin, "thunder": thunder, "truck engine": engine,
    "vacuum cleaner": motor, "water drip": drip, "waterfall": waterfall, "whoosh": whoosh, "wind": wind,
}  # fmt: skip
"""Labels and what makes sounds of them."""
