"""Images of every kind that users hold: what becomes of them, and which are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images.given import to_array, to_filled

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (24, 32), np.uint8)
RGB = RNG.integers(0, 256, (24, 32, 3), np.uint8)


@dataclasses.dataclass
class Tensor:
  """Holds an array as a library of others would."""

  values: np.ndarray

  def __array__(self, dtype=None, copy=None):
    return self.values


class OnGpu:
  """Refuses to be an array, as a tensor of PyTorch on a GPU does."""

  def __array__(self, dtype=None, copy=None):
    raise TypeError("can't convert cuda:0 device type tensor to numpy")


FLOAT8 = np.asarray(jnp.asarray(GREY / 256, jnp.float8_e5m2).astype(jnp.float32))
KINDS = {
  "list": (GREY.tolist(), GREY),
  "nested tuple": (tuple(map(tuple, GREY.tolist())), GREY),
  "list of colours": (RGB.tolist(), RGB),
  "list of floats": ((GREY / 255).tolist(), GREY / 255),
  "list of arrays": ([GREY, GREY], np.stack([GREY, GREY])),
  "list of counts": ((GREY.astype(int) + 29_000).tolist(), (GREY.astype(np.uint16) + 29_000)),
  "list of negative numbers": ([[-1, 5]], np.array([[-1, 5]])),
  "list of large numbers": ([[0, 70_000]], np.array([[0, 70_000]])),
  "signed array": (GREY.astype(np.int64), GREY.astype(np.int64)),
  "jax": (jnp.asarray(RGB), RGB),
  "jax bfloat16": (jnp.asarray(GREY / 256, jnp.bfloat16), (GREY / 256).astype(np.float32)),
  "pillow grey": (Image.fromarray(GREY), GREY),
  "pillow colour": (Image.fromarray(RGB), RGB),
  "pillow 16 bits": (Image.fromarray(GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257),
  "__array__": (Tensor(GREY), GREY),
  "memoryview": (memoryview(GREY), GREY),
  "big-endian": (GREY.astype(">u2"), GREY.astype(np.uint16)),
  "jax float8": (jnp.asarray(GREY / 256, jnp.float8_e5m2), FLOAT8),
  "jax 4 bits": (jnp.asarray(GREY // 16, jnp.uint4), GREY // 16),
  "long double": ((GREY / 255).astype(np.longdouble), GREY / 255),
  "float16": (GREY.astype(np.float16), GREY.astype(np.float16)),
  "nothing masked": (np.ma.masked_array(GREY, False), GREY),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_its_array(kind):
  given, expected = KINDS[kind]
  found = to_array(given, "visible")
  assert type(found) is np.ndarray and found.dtype == expected.dtype and found.dtype.isnative
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_paths_are_read(tmp_path, suffix):
  path = tmp_path / f"x.{suffix}"
  for array in (GREY, RGB):
    Image.fromarray(array).save(path)
    for given in (path, str(path)):
      np.testing.assert_array_equal(to_array(given, "visible"), array)


def test_palettes_of_pillow_are_looked_up():
  picture = Image.fromarray(RGB).quantize(16)
  np.testing.assert_array_equal(to_array(picture, "visible"), np.asarray(picture.convert("RGB")))


MASKED = np.ma.masked_array(GREY.astype(np.float32), GREY < 10)


@pytest.mark.parametrize("given", [MASKED, [MASKED, MASKED], [MASKED, GREY], MASKED.astype(">f4")])
def test_masks_of_arrays_are_kept(given):
  found = to_array(given, "visible")
  first = found if found.ndim == 2 else found[0]
  assert first.dtype == np.float32 and first.dtype.isnative
  np.testing.assert_array_equal(np.ma.getmaskarray(first), GREY < 10)
  np.testing.assert_array_equal(np.ma.getdata(first), GREY)
  if isinstance(given, list) and given[1] is GREY:
    assert not np.ma.is_masked(found[1])


REFUSED = {
  "ragged list of masked": ([MASKED, MASKED[:4]], "infrared is a list that is no array"),
  "on a GPU": (OnGpu(), "infrared is a OnGpu that is no array: can't convert cuda:0"),
  "ragged": ([[1, 2], [3]], "infrared is a list that is no array"),
  "missing file": ("absent.png", "absent.png: No such file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_is_refused_with_its_cause(kind):
  given, words = REFUSED[kind]
  with pytest.raises(InputError, match=words):
    to_array(given, "infrared")


def test_masked_values_become_nan():
  np.testing.assert_array_equal(to_filled(MASKED, "x"), np.where(GREY < 10, np.nan, GREY))
  counts = to_filled(np.ma.masked_array(GREY, GREY < 10), "x")
  assert counts.dtype == np.float32 and np.isnan(counts[GREY < 10]).all()
  assert type(to_filled(np.ma.masked_array(GREY, False), "x")) is np.ndarray


def test_traced_images_are_refused():
  with pytest.raises(InputError, match="visible is traced by JAX.*fusion_graph"):
    jax.jit(lambda image: to_array(image, "visible"))(GREY)
