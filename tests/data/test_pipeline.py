import dataclasses

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import augment, pipeline

OPTIONS = pipeline.Input(
  crop=8, flip=True, transpose=True, workers=0, threads=2, prefetch=2, device_gb=0
)
LENGTH = 7


@dataclasses.dataclass(frozen=True)
class Numbered:
  """Pairs whose pixels tell their record, row and column; sizes vary, some below the crop."""

  depth: type = np.uint16
  broken: int = -1

  names = tuple(f"pair{index}" for index in range(LENGTH))

  def __len__(self):
    return LENGTH

  def __getitem__(self, index):
    if index == self.broken:
      raise InputError("broken.png: cannot be read")
    height, width = 6 + index, 14 - index
    rows, columns = np.indices((height, width))
    image = (1000 * (index + 1) + 20 * rows + columns).astype(self.depth)[..., None]
    return {"visible": image, "infrared": image + self.depth(1)}


def batches(start, stop, batch_size=3, options=OPTIONS, seed=5, source=None, **processes):
  source = Numbered() if source is None else source
  stretch = pipeline.Stretch(batch_size, start, stop, **processes)
  return list(pipeline.train_batches(source, options, seed, stretch))


def arrays(found):
  return tuple(np.stack([b[name] for b in found]) for name in ("visible", "infrared"))


def records_of(visible):
  """Which record each row shows."""
  return (np.round(visible[:, 0, 0, 0] * 65535).astype(int) // 1000 - 1).tolist()


def test_batches_are_float_pairs_of_aligned_crops():
  for batch in batches(0, 5):
    assert set(batch) == {"visible", "infrared"}
    for image in batch.values():
      assert image.shape == (3, 8, 8, 1) and image.dtype == np.float32
      assert image.min() > 0 and image.max() < 1
    difference = np.round((batch["infrared"] - batch["visible"]) * 65535)
    np.testing.assert_array_equal(difference, 1)


def test_every_epoch_shows_every_record_once_in_a_new_order():
  rows = [r for b in batches(0, LENGTH * 3, batch_size=2) for r in records_of(b["visible"])]
  epochs = [rows[i : i + LENGTH] for i in range(0, len(rows), LENGTH)]
  assert len(epochs) == 6
  assert all(sorted(epoch) == list(range(LENGTH)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) > 4
  planned = [pipeline.plan(5, position, LENGTH) for position in range(len(rows))]
  assert [place.index for place in planned] == rows
  assert [place.epoch for place in planned] == [i // LENGTH for i in range(len(rows))]


def test_the_order_is_fixed_for_all_versions():
  planned = [pipeline.plan(5, position, 7) for position in range(8)]
  assert [(p.epoch, p.index) for p in planned] == [(0, i) for i in (4, 1, 2, 0, 3, 5, 6)] + [(1, 5)]
  shards = tuple(np.repeat(np.arange(6), 2))
  planned = [pipeline.plan(3, position, 12, shards).index for position in range(24)]
  assert planned[:12] == [3, 2, 0, 10, 7, 11, 1, 6, 9, 8, 4, 5]
  assert planned[12:] == [1, 8, 0, 11, 9, 10, 5, 4, 2, 6, 7, 3]


def test_samples_are_what_plan_and_augmentation_say():
  source = Numbered()
  samples = pipeline.Samples(source, OPTIONS, 5)
  batch = batches(4, 5)[0]
  for row in range(3):
    place = pipeline.plan(5, 4 * 3 + row, LENGTH)
    image = source[place.index]["visible"]
    chosen = augment.draw(
      5, place.epoch, place.index, *image.shape[:2], crop=8, flip=True, transpose=True
    )
    assert samples.augmentation(place, *image.shape[:2]) == chosen
    expected = augment.apply(chosen, image, 8) / np.float32(65535)
    np.testing.assert_array_equal(batch["visible"][row], expected)


def test_a_record_is_cut_anew_in_every_epoch():
  crops = {}
  for batch in batches(0, LENGTH, batch_size=LENGTH):
    for record, image in zip(records_of(batch["visible"]), batch["visible"], strict=True):
      crops.setdefault(record, set()).add(image.tobytes())
  assert min(len(found) for found in crops.values()) >= 3


def test_any_start_gives_the_uninterrupted_batches():
  whole = arrays(batches(0, 9))
  for start in (1, 4, 8):
    for a, b in zip(arrays(batches(start, 9)), whole, strict=True):
      np.testing.assert_array_equal(a, b[start:])
  assert batches(9, 9) == []


def test_processes_share_the_rows_of_one_batch():
  whole = arrays(batches(2, 6, batch_size=4))
  shares = [arrays(batches(2, 6, batch_size=4, process_index=p, process_count=2)) for p in range(2)]
  for modality in range(2):
    together = np.concatenate([share[modality] for share in shares], axis=1)
    np.testing.assert_array_equal(together, whole[modality])


def test_threads_and_worker_processes_do_not_change_the_batches():
  whole = arrays(batches(3, 8))
  for changed in ({"threads": 1, "prefetch": 1}, {"threads": 7, "prefetch": 9}, {"workers": 2}):
    found = arrays(batches(3, 8, options=dataclasses.replace(OPTIONS, **changed)))
    np.testing.assert_array_equal(found, whole)


def test_seeds_differ():
  assert not np.array_equal(arrays(batches(0, 3)), arrays(batches(0, 3, seed=6)))
  with pytest.raises(InputError, match="seed=-1"):
    batches(0, 1, seed=-1)


def test_8_and_16_bit_files_end_at_one():
  @dataclasses.dataclass(frozen=True)
  class White(Numbered):
    def __getitem__(self, index):
      white = {"visible": (255, np.uint8), "infrared": (65535, np.uint16)}
      return {name: np.full((8, 8, 1), *value) for name, value in white.items()}

  batch = batches(0, 1, source=White())[0]
  assert np.all(batch["visible"] == 1) and np.all(batch["infrared"] == 1)


def test_a_file_that_breaks_later_is_still_an_input_error():
  with pytest.raises(InputError, match="broken.png"):
    batches(0, 3, source=Numbered(broken=2))


def test_validation_shows_every_pair_once_centred_and_fills_the_last_batch():
  source = Numbered()
  found = list(pipeline.validation_batches(source, OPTIONS, batch_size=3))
  assert [names for names, _ in found] == [source.names[:3], source.names[3:6], source.names[6:]]
  assert all(batch["visible"].shape == (3, 8, 8, 1) for _, batch in found)
  rows = np.concatenate([batch["visible"] for _, batch in found])
  assert records_of(rows) == [0, 1, 2, 3, 4, 5, 6, 6, 6]
  image = augment.pad_to(source[4]["visible"], 8)
  expected = image[1:9, 1:9] / np.float32(65535)
  np.testing.assert_array_equal(rows[4], expected)


def test_validation_of_some_pairs_spreads_them_evenly_and_fills_the_last_batch():
  source = Numbered()
  found = list(pipeline.validation_batches(source, OPTIONS, batch_size=2, most=3))
  assert [names for names, _ in found] == [(source.names[0], source.names[3]), (source.names[6],)]
  rows = np.concatenate([batch["visible"] for _, batch in found])
  assert records_of(rows) == [0, 3, 6, 6]


def test_validation_rows_of_processes_make_up_the_batches():
  whole = list(pipeline.validation_batches(Numbered(), OPTIONS, batch_size=4))
  shares = [
    list(
      pipeline.validation_batches(
        Numbered(), OPTIONS, batch_size=4, process_index=p, process_count=2
      )
    )
    for p in range(2)
  ]
  for (names, batch), (names0, batch0), (names1, batch1) in zip(whole, *shares, strict=True):
    assert names == names0 == names1
    together = np.concatenate([batch0["infrared"], batch1["infrared"]])
    np.testing.assert_array_equal(batch["infrared"], together)


@dataclasses.dataclass(frozen=True)
class Coloured(Numbered):
  """Three images per sample, one of them RGB with the record's pixels in all channels."""

  def __getitem__(self, index):
    image = super().__getitem__(index)["visible"]
    return {"rain": np.repeat(image, 3, -1) + self.depth((0, 1, 2)), "clear": image, "ir": image}


@pytest.mark.parametrize("workers", [0, 1])
def test_all_images_of_a_sample_are_cut_alike_whatever_their_names_and_channels(workers):
  options = dataclasses.replace(OPTIONS, workers=workers)
  plain = batches(0, 4)
  for batch, expected in zip(batches(0, 4, options=options, source=Coloured()), plain, strict=True):
    assert {name: image.shape for name, image in batch.items()} == {
      "rain": (3, 8, 8, 3), "clear": (3, 8, 8, 1), "ir": (3, 8, 8, 1),
    }  # fmt: skip
    np.testing.assert_array_equal(batch["clear"], expected["visible"])
    np.testing.assert_array_equal(batch["ir"], expected["visible"])
    np.testing.assert_array_equal(batch["rain"][..., 1:2], expected["infrared"])


def test_a_source_without_samples_is_refused():
  class Empty(Numbered):
    def __len__(self):
      return 0

  with pytest.raises(InputError, match="no image to train on"):
    batches(0, 1, source=Empty())


def test_impossible_options_are_refused():
  for name, value in {
    "crop": 0,
    "workers": -1,
    "threads": 0,
    "prefetch": 0,
    "device_gb": -1,
  }.items():
    with pytest.raises(InputError, match=f"input.{name}={value}"):
      dataclasses.replace(OPTIONS, **{name: value})
  with pytest.raises(InputError, match="batch size 3 cannot be shared by 2 processes"):
    batches(0, 1, process_count=2)


@pytest.mark.parametrize(
  "name", ["crop", "workers", "threads", "prefetch", "device_gb", "cache_gb"]
)
def test_options_at_their_least_are_allowed_and_below_are_not(name):
  least = {"crop": 1, "threads": 1, "prefetch": 1}.get(name, 0)
  assert getattr(dataclasses.replace(OPTIONS, **{name: least}), name) == least
  with pytest.raises(InputError, match=f"input.{name}={least - 1}: must be at least {least}"):
    dataclasses.replace(OPTIONS, **{name: least - 1})


def test_a_stretch_numbers_the_rows_of_its_process():
  stretch = pipeline.Stretch(6, 2, 4, 1, 3)
  assert stretch.rows == 2 and list(stretch.items) == [0, 1, 2, 3]
  assert [stretch.position(item) for item in stretch.items] == [14, 15, 20, 21]
  assert pipeline.Stretch(1, 0, 1).rows == 1
  for batch_size, count in ((0, 1), (4, 3)):
    with pytest.raises(InputError, match=f"batch size {batch_size} cannot be shared by {count}"):
      pipeline.Stretch(batch_size, 0, 1, 0, count)


def test_by_shards_every_record_comes_once_and_few_shards_are_open_at_once():
  shards = tuple(np.repeat(np.arange(11), 7))
  order = [pipeline.plan(3, k, 77, shards).index for k in range(154)]
  first, second = order[:77], order[77:]
  assert sorted(first) == sorted(second) == list(range(77)) and first != second
  for epoch in (first, second):
    seen = [shards[index] for index in epoch]
    turns = [set(seen[k : k + 7 * pipeline.SHARDS]) for k in range(0, 77, 7 * pipeline.SHARDS)]
    assert [len(turn) for turn in turns] == [4, 4, 3] and set().union(*turns) == set(range(11))
    assert seen != sorted(seen) and any(a != b for a, b in zip(seen, seen[1:], strict=False))
  assert [pipeline.plan(3, k, 77).index for k in range(77)] != first


def test_options_that_are_not_given_are_those_of_a_run_from_buckets():
  assert (OPTIONS.cache_gb, OPTIONS.shuffle, OPTIONS.normalize_over) == (16.0, "records", "image")


@pytest.mark.parametrize(("threads", "prefetch", "used"), [(7, 2, 2), (1, 9, 1), (3, 3, 3)])
def test_no_more_threads_are_used_than_batches_are_made_ahead(monkeypatch, threads, prefetch, used):
  asked, make = [], pipeline.grain.ReadOptions

  def note(count, *, prefetch_buffer_size):
    asked.append((count, prefetch_buffer_size))
    return make(count, prefetch_buffer_size=prefetch_buffer_size)

  monkeypatch.setattr(pipeline.grain, "ReadOptions", note)
  options = dataclasses.replace(OPTIONS, threads=threads, prefetch=prefetch)
  pipeline.train_batches(Numbered(), options, 5, pipeline.Stretch(3, 0, 1))
  assert asked == [(used, prefetch)]
