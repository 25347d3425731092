"""A scene over time as files of two cameras: small, generated, with a hot thing that enters."""

import fractions

import numpy as np

SIZE = (48, 64)


def world(count=24, noise=0.05, size=SIZE):
  """Degrees Celsius of every frame: a person walks, at half time a hot engine enters below.

  Rows 0 to 9 are background that does not change but for noise.
  """
  y, x = np.mgrid[: size[0], : size[1]].astype(float)
  rng = np.random.default_rng(0)
  for k in range(count):
    celsius = 15 + 8 * y / size[0] + 3 * np.sin(x / 9) * np.cos(y / 13)
    celsius[14:34, 2 + k : 8 + k] = 34
    if k >= count // 2:
      celsius[34:46, 44:60] = 120
    yield celsius + rng.normal(0, noise, size)


def counts(celsius):
  """Counts of 16 bits, 40 a degree."""
  return np.round(celsius * 40 + 7000).astype(np.uint16)


def photo(celsius):
  """A photograph, uint8 RGB, of the same things with stripes."""
  stripes = 40 * np.sin(np.arange(celsius.shape[1]) / 5)
  grey = np.clip(80 + 3 * (np.minimum(celsius, 40) - 15) + stripes, 0, 255)
  return np.stack([grey, 0.9 * grey, 255 - grey], -1).astype(np.uint8)


def write(path, frames, *, rate=30, codec="ffv1", pixels=None, given=None, times=None, sound=False):
  """Writes frames [H, W] or [H, W, 3]; times: milliseconds of each; sound: a second a second."""
  import av

  with av.open(str(path), "w") as container:
    stream = None
    for k, frame in enumerate(frames):
      kind = given or {2: "gray" if frame.dtype == np.uint8 else "gray16le", 3: "rgb24"}[frame.ndim]
      if stream is None:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frame.shape[:2]
        lossless = "bgr0" if kind == "rgb24" else kind
        stream.pix_fmt = pixels or (lossless if codec == "ffv1" else "yuv420p")
        if times is not None:
          stream.codec_context.time_base = fractions.Fraction(1, 1000)
        if sound:
          _write_sound(container, container.add_stream("pcm_s16le", rate=8000, layout="mono"), 1.0)
      picture = av.VideoFrame.from_ndarray(frame, format=kind)
      if times is not None:
        picture.pts, picture.time_base = times[k], fractions.Fraction(1, 1000)
      container.mux(stream.encode(picture))
    container.mux(stream.encode())


def _write_sound(container, stream, seconds):
  import av

  tone = (8000 * np.sin(np.arange(round(8000 * seconds)) / 3)).astype(np.int16)
  for start in range(0, len(tone), 800):
    frame = av.AudioFrame.from_ndarray(tone[None, start : start + 800], "s16", "mono")
    frame.sample_rate, frame.pts = 8000, start
    container.mux(stream.encode(frame))
  container.mux(stream.encode())


def read(path, form="rgb24"):
  """All frames of a video."""
  import av

  with av.open(str(path)) as container:
    return [frame.to_ndarray(format=form) for frame in container.decode(video=0)]
