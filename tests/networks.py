"""State dicts of the networks of LPIPS and FID, drawn by a rule; no weights of anyone's."""

import zlib

import numpy as np

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of the package `lpips`


def drawn(shapes):
  """Arrays by name, each from a generator seeded by its name's CRC-32."""
  return {name: _drawn(name, shape) for name, shape in shapes.items()}


def _drawn(name, shape):
  random = np.random.default_rng(zlib.crc32(name.encode()))
  if name.startswith("scaling_layer"):
    return np.float32(SHIFT if name.endswith("shift") else SCALE).reshape(shape)
  if name.startswith("lin"):
    return random.uniform(0, 1, shape).astype(np.float32)
  if len(shape) == 4:
    spread = np.sqrt(2 / np.prod(shape[1:]))
    return (spread * random.standard_normal(shape)).astype(np.float32)
  if name.endswith(("bn.weight", "running_var")):
    return random.uniform(0.5, 1.5, shape).astype(np.float32)
  return (0.1 * random.standard_normal(shape)).astype(np.float32)


def pictures(count, height, width, seed):
  """Smooth pictures [count, height, width, 3] in [0, 1], float32."""
  random = np.random.default_rng(seed)
  coarse = random.uniform(0, 1, (count, height // 8 + 1, width // 8 + 1, 3))
  fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
  return (0.8 * fine + 0.2 * random.uniform(0, 1, fine.shape)).astype(np.float32)
