import io

import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.datasets.labelled import classes as classes_lib
from cfi_jax.datasets.labelled.classes import IGNORED, Classes, looks_interpolated

THREE = Classes(("none", "car", "man"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)), 1, (0, 255))


def png(image):
  stream = io.BytesIO()
  image.save(stream, "PNG")
  stream.seek(0)
  return stream


def read(image, classes=THREE):
  return classes.read(png(image), "a.png")[..., 0]


def test_numbers_become_indices_and_what_is_ignored():
  numbers = np.array([[0, 1, 2], [3, 255, 1]], np.uint8)
  expected = [[IGNORED, 0, 1], [2, IGNORED, 0]]
  np.testing.assert_array_equal(read(Image.fromarray(numbers)), expected)
  np.testing.assert_array_equal(read(Image.fromarray(numbers.astype(np.uint16))), expected)
  equal = Image.fromarray(np.repeat(numbers[..., None], 3, -1))
  np.testing.assert_array_equal(read(equal), expected)


def test_whole_numbers_may_be_floating_point_and_others_are_refused():
  numbers = np.array([[1, 2], [3, 255]], np.float32)
  for added in (0, 0.5):
    stream = io.BytesIO()
    Image.fromarray(numbers + np.float32(added)).save(stream, "TIFF")
    stream.seek(0)
    if added:
      with pytest.raises(InputError, match="a.tif: labels are float32; allowed: whole numbers"):
        THREE.read(stream, "a.tif")
    else:
      np.testing.assert_array_equal(THREE.read(stream, "a.tif")[..., 0], [[0, 1], [2, IGNORED]])


def test_of_a_palette_the_indices_count():
  image = Image.fromarray(np.array([[1, 2], [3, 3]], np.uint8), "P")
  image.putpalette([0, 0, 0, 9, 9, 9, 8, 200, 8, 7, 7, 70])
  np.testing.assert_array_equal(read(image), [[0, 1], [2, 2]])


def test_one_bit_is_the_first_class_and_the_second():
  image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
  two = Classes(THREE.names[:2], THREE.colours[:2])
  np.testing.assert_array_equal(read(image, two), [[0, 1], [1, 0]])


def test_no_colour_of_a_class_is_read_as_another_number():
  for dataset in datasets.DATASETS.values():
    classes = getattr(dataset, "classes", None)
    for index, colour in enumerate(classes.colours if isinstance(classes, Classes) else ()):
      image = Image.fromarray(np.full((1, 1, 3), colour, np.uint8))
      assert read(image, classes) == index or colour == (0, 0, 0), (classes.names, colour)


def test_colours_are_looked_up():
  image = np.array([[(0, 0, 0), (0, 0, 255)], [(255, 0, 0), (0, 0, 0)]], np.uint8)
  np.testing.assert_array_equal(read(Image.fromarray(image)), [[0, 2], [1, 0]])
  np.testing.assert_array_equal(THREE.palette[[[0, 2], [1, 0]]], image)
  assert (THREE.palette[IGNORED] == 255).all()
  grey = Classes(("none", "man"), ((0, 0, 0), (255, 255, 255)), ignored=())
  alike = np.repeat(np.array([[[0], [255]]], np.uint8), 3, -1)
  np.testing.assert_array_equal(read(Image.fromarray(alike), grey), [[0, 1]])
  image[0, 0] = (1, 2, 3)
  with pytest.raises(InputError, match=r"a.png: 1 pixels have a colour of no class.*\[1, 2, 3\]"):
    read(Image.fromarray(image))


def test_numbers_out_of_range_are_named():
  with pytest.raises(
    InputError, match=r"a.png: 2 pixels have the labels \[4, 9\]; allowed: 1 to 3"
  ):
    read(Image.fromarray(np.array([[4, 9, 1]], np.uint8)))


@pytest.mark.parametrize(
  "arguments, words",
  [
    (((), ()), "there are 0 classes; allowed: 1 to 254"),
    ((("a", "a"), ((0, 0, 0), (1, 1, 1))), "the class 'a' is given twice"),
    ((("a", "b"), ((0, 0, 0), (0, 0, 0))), r"the colour \(0, 0, 0\) is given twice"),
    ((("a", "b"), ((0, 0, 0),)), "2 classes have 1 colours"),
    ((("a", "b"), ((0, 0, 0), (1, 1, 1)), 0, (1,)), r"ignored labels \[1\] are classes"),
  ],
)
def test_classes_that_cannot_be(arguments, words):
  with pytest.raises(InputError, match=words):
    Classes(*arguments)


@pytest.mark.parametrize(
  "name, count, some, first",
  [
    ("msrs_labels", 9, {0: "unlabelled", 1: "car", 2: "person", 8: "bump"}, 0),
    ("mfnet", 9, {3: "bike", 6: "guardrail", 7: "colour cone"}, 0),
    ("pst900", 5, {0: "background", 4: "survivor"}, 0),
    ("fmb", 15, {8: "person", 9: "car", 14: "pole"}, 0),
    ("nyudv2", 40, {0: "wall", 30: "person", 39: "other prop"}, 1),
    ("m3fd_boxes", 6, {0: "People", 5: "Truck"}, 0),
    ("llvip_boxes", 1, {0: "person"}, 0),
    ("synthetic_labels", 8, {0: "background", 1: "person", 7: "sign"}, 0),
  ],
)
def test_orders_of_data_sets(name, count, some, first):
  classes = datasets.DATASETS[name].classes
  assert len(classes.names) == count and classes.first == first
  assert {index: classes.names[index] for index in some} == some


def test_spread_colours_are_those_of_pascal_voc():
  colours = classes_lib.spread(22)
  assert colours[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
  assert colours[20] == (0, 64, 128) and len(set(classes_lib.spread(254))) == 254


def test_labels_that_were_resized_like_pictures_are_told_from_drawn_ones():
  drawn = np.zeros((48, 48), np.uint8)
  drawn[8:30, 10:40], drawn[30:44, 20:36] = 6, 3
  assert not looks_interpolated(drawn[..., None])
  larger = Image.fromarray(drawn).resize((96, 96), Image.Resampling.BILINEAR)
  assert looks_interpolated(np.asarray(larger)[..., None])
  nearest = Image.fromarray(drawn).resize((96, 96), Image.Resampling.NEAREST)
  assert not looks_interpolated(np.asarray(nearest)[..., None])
