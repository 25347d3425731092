"""False colours turned back into values: palettes of thermal cameras and of matplotlib."""

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.images import ranges

NEAR = (
  32.0  # levels of 255 between a colour and the palette that JPEG and a camera's own shade take
)
OFF = 0.05  # share of the pixels that may lie farther away: a scale, a logo

# Colours from cold to hot in equal steps, by name; where cameras differ, several of which the
# nearest is taken. Those of matplotlib are its maps, sampled.
_COLOURS = {
  "iron": (  # black, violet, red, yellow, white; and the same without white
    "00000a 0b0073 38008f 65009b 8f009c b00198 c50c8b d4226e e13c26 eb520a f06503 f57c00 f99100 "
    "fdaf00 feca01 ffea46 fffff6",
    "000028 18003e 300055 48006c 600082 78006c 900055 a8163e c02d28 d84412 f05a00 ff7000 ff8700 "
    "ff9e00 ffb400 ffca00 ffe100 fff800",
  ),
  "rainbow": (  # black, blue, green, red, white; matplotlib's
    "000000 000060 0000c0 0020ff 0060ff 00a0ff 00e0ff 00ffb0 00ff40 50ff00 b0ff00 ffff00 ffc000 "
    "ff8000 ff4000 ff0000 ffffff",
    "8000ff 6032fe 4062fa 208ef4 01b4ec 20d4e1 40ecd4 60fac5 80ffb4 9ffaa2 bfec8e dfd478 ffb462 "
    "ff8e4a ff6232 ff3219 ff0000",
    "000080 0000a4 0000c8 0000ec 0000ff 0020ff 0040ff 0060ff 0080ff 009fff 00bfff 00dffc 15fee2 "
    "2effc9 48ffaf 62ff95 7bff7b 95ff62 afff48 c9ff2e e2ff15 fcf000 ffd200 ffb500 ff9700 ff7a00 "
    "ff5c00 ff3f00 ff2100 ec0400 c80000 a40000 800000",
  ),
  "black_hot": ("ffffff 000000",),
  "jet": (
    "000080 0000a4 0000c8 0000ec 0000ff 0020ff 0040ff 0060ff 0080ff 009fff 00bfff 00dffc 15fee2 "
    "2effc9 48ffaf 62ff95 7bff7b 95ff62 afff48 c9ff2e e2ff15 fcf000 ffd200 ffb500 ff9700 ff7a00 "
    "ff5c00 ff3f00 ff2100 ec0400 c80000 a40000 800000",
  ),
  "turbo": (
    "30123b 392a73 4040a1 4456c7 466be3 467ff6 4293ff 37a7fa 29bbec 1dcdd8 18dcc3 1ee8b0 31f299 "
    "4cf97e 6bfd64 8aff4d a3fd3c b8f735 cced34 dee037 edd03a f8c03a fdae35 fe982c fb8022 f56817 "
    "ec520f e04009 d23105 c02302 ac1701 950d01 7a0403",
  ),
  "inferno": (
    "000004 040312 0b0724 150b37 210c4a 2e0a5a 3c0965 4a0c6b 57106d 63146e 70196e 7d1e6d 89226a "
    "962766 a32b61 af315c bb3755 c63e4d d14644 db4f3b e35932 eb6528 f1711e f67f14 f98d0a fb9c06 "
    "fcab0f fbba1f f9ca32 f5d949 f2e865 f3f586 fcffa4",
  ),
  "hot": (
    "0b0000 200000 340000 490000 5e0000 730000 880000 9d0000 b20000 c70000 dc0000 f10000 ff0700 "
    "ff1c00 ff3000 ff4500 ff5a00 ff6f00 ff8400 ff9900 ffae00 ffc300 ffd800 ffed00 ffff04 ffff23 "
    "ffff43 ffff62 ffff81 ffffa1 ffffc0 ffffe0 ffffff",
  ),
  "afmhot": (
    "000000 200000 400000 600000 800000 9f2000 bf4000 df6000 fe8000 ff9f20 ffbf40 ffdf60 ffff80 "
    "ffff9f ffffbf ffffdf ffffff",
  ),
  "gnuplot": (
    "000000 2d0032 400062 4e008e 5a00b4 6501d4 6e02ec 7703fa 7f04ff 8706fa 8f08ec 960ad4 9c0db4 "
    "a3118e a91562 af1a32 b42002 ba2600 bf2d00 c43500 ca3e00 cf4800 d35300 d85f00 dd6c00 e17a00 "
    "e68900 ea9900 efab00 f3be00 f7d200 fbe800 ffff00",
  ),
  "cmrmap": (
    "000000 131340 26267f 39269f 4d26be 732d9f 99337f cc3953 fe4027 f26013 e68000 e69f0d e6bf1a "
    "e6d24c e6e580 f2f2bf ffffff",
  ),
  "copper": (
    "000000 140c08 271910 3b2518 4f3220 623e28 764b30 8a5738 9d643f b17047 c57d4f d98957 ec955f "
    "ffa267 ffae6f ffbb77 ffc77f",
  ),
  "viridis": (
    "440154 470d60 48186a 482374 472d7b 453681 424086 3f4989 3b528b 375a8d 33638d 2f6a8e 2c728e "
    "297a8e 26818e 23898e 21908c 1f988b 1f9f88 21a685 28ae80 31b57b 3ebc74 4cc26c 5dc963 6ece58 "
    "82d34c 96d83f abdc32 c0df24 d5e21a eae51a fde725",
  ),
  "plasma": (
    "0d0887 220690 310596 3f049c 4c02a1 5901a5 6600a7 7201a8 7e03a8 8909a6 9511a2 9f1a9c a92396 "
    "b22c8e bb3587 c33e80 cb4778 d25071 d9596a e06263 e66c5c eb7555 f07f4f f48a48 f89441 fb9f3a "
    "fdab33 feb72d fdc328 fcd025 f9dd25 f5eb27 f0f921",
  ),
  "magma": (
    "000004 0a0822 1d1146 36106a 50127c 691c81 822681 9c2e7f b63779 cf4170 e65163 f5695c fb8761 "
    "fea571 fec387 fde0a2 fcfdbf",
  ),
  "cividis": (
    "00224e 00285b 002e6a 043371 1a386f 273e6e 32436d 3b496c 434e6c 4b546c 52596d 5a5f6e 61656f "
    "686a71 6f7073 757676 7c7b78 848179 8b8778 938d78 9b9376 a39a75 aba072 b3a670 bbad6c c3b469 "
    "ccba64 d4c15f ddc958 e6d051 efd748 f8df3c fee838",
  ),
}
PALETTES = tuple(_COLOURS)


def table(colours: str) -> np.ndarray:
  """The 256 colours of a palette, float [256, 3] in [0, 255], of its steps in hexadecimal."""
  steps = np.array([list(bytes.fromhex(colour)) for colour in colours.split()], np.float64)
  at = np.linspace(0, len(steps) - 1, 256)
  return np.stack([np.interp(at, np.arange(len(steps)), steps[:, c]) for c in range(3)], -1)


def check(name: str) -> None:
  """Raises InputError for an unknown palette; "" is none."""
  if name and name not in _COLOURS:
    raise InputError(f"infrared_palette is {name!r}; allowed: {', '.join(PALETTES)}")


def values(image: np.ndarray, name: str, label: str = "infrared") -> np.ndarray:
  """The values, uint8 [H, W, 1], that a palette shows as the colours of [H, W, C].

  Raises InputError, with the label, where more than `OFF` of the pixels are not colours of it.
  """
  from scipy import spatial  # here, as few need it

  check(name)
  rgb = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image[..., :3]
  levels = np.rint(rgb.astype(np.float64) * (255 / ranges.largest(rgb.dtype))).astype(np.uint8)
  packed = levels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
  known, place, counts = np.unique(packed, return_inverse=True, return_counts=True)
  colours = np.stack([known >> 16, known >> 8 & 255, known & 255], -1)
  found = [spatial.KDTree(table(c)).query(colours) for c in _COLOURS[name]]
  distance, index = min(found, key=lambda of: np.minimum(of[0], NEAR) @ counts)
  off = counts[distance > NEAR].sum() / counts.sum()
  if off > OFF:
    raise InputError(
      f"{label}: {off:.0%} of its pixels are no colours of the palette {name!r}; allowed: "
      f"{', '.join(PALETTES)}"
    )
  return index[place].astype(np.uint8).reshape(*image.shape[:2], 1)
