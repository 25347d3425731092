"""Graphs of frames: sizes, colours, and images that are smaller than their frame."""

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import graphs
from cfi_jax.fusion.rule_options import parse
from cfi_jax.images import colour
from cfi_jax.images import read as images


def test_a_graph_of_lumas_keeps_colours_and_takes_the_frame_for_the_size(random):
  asked = []

  def brighter(visible, infrared, size):
    asked.append((visible.shape, np.asarray(size).tolist()))
    return jnp.maximum(visible, infrared)

  visible, infrared = random.random((2, 1, 4, 5, 1), np.float32)
  grey = graphs.of_luma(brighter, (4, 5), graphs.GREY, 3)
  assert (grey.frame, grey.channels, grey.smallest) == ((4, 5), 1, 3)
  np.testing.assert_array_equal(grey.function(visible, infrared), np.maximum(visible, infrared))
  rgb = random.random((1, 4, 5, 3), np.float32)
  coloured = graphs.of_luma(brighter, (4, 5), graphs.COLOUR, None)
  found = coloured.function(rgb, infrared, jnp.array([3, 2]))
  luma = np.maximum(images.luma(rgb), infrared)[0, ..., 0]
  np.testing.assert_allclose(found[0], colour.recolour(rgb[0], luma), atol=1e-6)
  assert found.max() == 1  # clipped
  assert asked == [((1, 4, 5, 1), [4, 5]), ((1, 4, 5, 1), [3, 2])]


def test_a_frame_has_a_least_side():
  graphs.require_frame((8, 8), 8)
  for frame in ((7, 9), (9, 7)):
    words = f"images of {frame[0]}x{frame[1]} .height x width.; allowed: both from 8"
    with pytest.raises(InputError, match=words):
      graphs.require_frame(frame, 8)


@pytest.mark.parametrize(
  ("rule", "frame", "least", "smallest"),
  [
    ("average", (40, 50), 8, 8),
    ("wavelet", (40, 50), 8, 8),
    ("laplacian", (40, 50), 8, 31),  # halved twice, to 16 and to 8
    ("laplacian", (99, 31), 8, 31),
    ("laplacian", (30, 99), 8, 16),
    ("laplacian", (40, 50), 35, 35),
    ("laplacian", (8, 9), 8, 8),
    ("laplacian", (8, 9), 9, None),
  ],
)
def test_images_of_one_graph_have_pyramids_of_one_depth(rule, frame, least, smallest):
  assert graphs.smallest(parse(rule), frame, least) == smallest


def test_an_image_is_mirrored_to_the_frame_and_the_result_clipped(random):
  visible, infrared = random.random((2, 1, 6, 7, 1), np.float32)
  visible[0, 1, 1] = infrared[0, 1, 1] = 1.5
  fuse = graphs.of_rule(parse("average"), (6, 7), plain=True)
  found = np.asarray(fuse(visible, infrared, jnp.array([4, 5])))
  rows, columns = [0, 1, 2, 3, 2, 1], [0, 1, 2, 3, 4, 3, 2]
  wanted = np.minimum((visible + infrared) / 2, 1)[:, rows][:, :, columns]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
