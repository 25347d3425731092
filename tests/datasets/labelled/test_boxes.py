import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import augment
from cfi_jax.datasets.labelled import boxes as boxes_lib
from cfi_jax.datasets.labelled.classes import Classes, spread
from cfi_jax.metrics.detection import Boxes

CLASSES = Classes(("People", "Car"), spread(2))
SIZE = (20, 30)


def voc(*objects, size="<size><width>30</width><height>20</height><depth>3</depth></size>"):
  boxes = "".join(
    f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{X}</xmax>"
    f"<ymax>{Y}</ymax></bndbox></object>"
    for name, x, y, X, Y in objects
  )
  return f"<annotation>{size}{boxes}</annotation>"


def test_voc_counts_from_one_and_includes_the_ends():
  found = boxes_lib.read_voc(
    voc(("people", 1, 1, 30, 20), ("Car", 5, 3, 5, 3)), "a", CLASSES, *SIZE
  )
  np.testing.assert_array_equal(found.boxes, [[0, 0, 20, 30], [2, 4, 3, 5]])
  np.testing.assert_array_equal(found.classes, [0, 1])
  assert len(boxes_lib.read_voc(voc(size=""), "a", CLASSES, *SIZE).classes) == 0


def test_yolo_is_in_shares_of_the_image():
  found = boxes_lib.read_yolo("1 0.5 0.25 0.2 0.5\n\n0 0.5 0.5 1 1\n", "a", CLASSES, *SIZE)
  np.testing.assert_allclose(found.boxes, [[0, 12, 10, 18], [0, 0, 20, 30]])
  np.testing.assert_array_equal(found.classes, [1, 0])
  assert len(boxes_lib.read_yolo("", "a", CLASSES, *SIZE).classes) == 0
  renumbered = boxes_lib.read_yolo("0 0.5 0.5 1 1", "a", CLASSES, *SIZE, numbering=(1,))
  np.testing.assert_array_equal(renumbered.classes, [1])
  with pytest.raises(InputError, match=r"a, line 1: class 1; allowed: 0 to 0 \(Car\)"):
    boxes_lib.read_yolo("1 0.5 0.5 1 1", "a", CLASSES, *SIZE, numbering=(1,))


@pytest.mark.parametrize(
  "text, words",
  [
    (voc(("Dog", 1, 1, 3, 3)), "a: no class 'Dog'; valid: People, Car"),
    (voc(("Car", 1, 1, 45, 3)), r"a: box \[0.0, 0.0, 3.0, 45.0\].*inside 20 rows and 30 columns"),
    (voc(("Car", 9, 1, 3, 3)), r"a: box .*allowed: boxes of a pixel or more"),
    (voc(("Car", "x", 1, 3, 3)), "a: bndbox/xmin is 'x'; allowed: a number"),
    (voc(size="<size><width>60</width><height>40</height></size>"), "was it resized"),
    ("<annotation>", "a: is no XML"),
    ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "a: declares a document type"),
    ("<annotation><object/></annotation>", "a: an object has no name"),
  ],
)
def test_annotations_that_are_wrong(text, words):
  with pytest.raises(InputError, match=words):
    boxes_lib.read_voc(text, "a", CLASSES, *SIZE)


@pytest.mark.parametrize(
  "text, words",
  [
    ("0 0.5 0.5 1", "a, line 1 is '0 0.5 0.5 1'; allowed: class x y width height"),
    ("0 0.5 0.5 1 nan", "a, line 1 is"),
    ("\n2 0.5 0.5 1 1", r"a, line 2: class 2; allowed: 0 to 1 \(People, Car\)"),
    ("0.5 0.5 0.5 1 1", "class 0.5"),
    ("0 0.9 0.5 1 1", "a: box"),
  ],
)
def test_lines_that_are_wrong(text, words):
  with pytest.raises(InputError, match=words):
    boxes_lib.read_yolo(text, "a", CLASSES, *SIZE)


BOXES = Boxes(np.array([[2.0, 3, 9, 12], [4, 8, 16, 25]]), np.array([1, 0]))


def test_pictures_keep_boxes_even_where_they_overlap():
  pictures = boxes_lib.encode(BOXES, *SIZE, 4, "a")
  boxes, classes = boxes_lib.decode(jnp.asarray(pictures))
  np.testing.assert_array_equal(boxes[:2], BOXES.boxes)
  np.testing.assert_array_equal(boxes[2:], 0)
  np.testing.assert_array_equal(classes, [1, 0, -1, -1])
  with pytest.raises(InputError, match="a: 2 boxes; data.most_boxes allows 1"):
    boxes_lib.encode(BOXES, *SIZE, 1, "a")


def test_crops_and_flips_move_boxes_like_pixels():
  pictures = boxes_lib.encode(BOXES, *SIZE, 2, "a")
  crop = augment.apply(augment.Augmentation(3, 6, 1, 0, 0), pictures, 10)
  boxes, classes = boxes_lib.decode(jnp.asarray(crop))
  # Rows 3 to 13 and columns 6 to 16, mirrored: column c becomes 16 - c.
  np.testing.assert_array_equal(boxes, [[0, 4, 6, 10], [1, 0, 10, 8]])
  np.testing.assert_array_equal(classes, [1, 0])
  gone = augment.apply(augment.Augmentation(10, 0, 0, 0, 1), pictures, 10)
  boxes, classes = boxes_lib.decode(jnp.asarray(gone))
  np.testing.assert_array_equal(classes, [-1, 0])
  np.testing.assert_array_equal(boxes[1], [8, 0, 10, 6])
