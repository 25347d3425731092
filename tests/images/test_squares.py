"""Square pictures: where a picture lies in its square, and that its border goes on."""

import numpy as np
import pytest

from cfi_jax.images import squares


@pytest.mark.parametrize(
  ("size", "margins"), [((4, 4), (0, 0)), ((3, 8), (2, 0)), ((8, 5), (0, 1)), ((2, 8), (3, 0))]
)
def test_a_picture_is_in_the_middle_of_its_square(size, margins, random):
  picture = random.integers(0, 256, (*size, 3), np.uint8)
  assert squares.margins(*size) == margins
  square, (above, left) = squares.pad(picture), margins
  assert square.shape == (max(size), max(size), 3)
  inner = square[above : above + size[0], left : left + size[1]]
  np.testing.assert_array_equal(inner, picture)
  rows = np.clip(np.arange(max(size)) - above, 0, size[0] - 1)
  columns = np.clip(np.arange(max(size)) - left, 0, size[1] - 1)
  np.testing.assert_array_equal(square, picture[rows][:, columns])


def test_places_move_with_the_picture():
  places = np.array([[0.0, 0], [8, 3]])
  np.testing.assert_allclose(squares.move(places, 3, 8, 16), [[0, 4], [16, 10]])
  np.testing.assert_allclose(squares.move(places, 8, 3, 4), [[1, 0], [5, 1.5]])


def test_a_square_of_the_side_is_itself_and_another_one_is_scaled():
  square = np.full((4, 4, 3), 7, np.uint8)
  assert squares.scale(square, 4) is square
  np.testing.assert_array_equal(squares.scale(square, 6), np.full((6, 6, 3), 7))
