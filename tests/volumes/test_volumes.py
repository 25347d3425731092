"""DICOM series and NIfTI files as volumes: order, units, grids, refusals; synthetic ones."""

import shutil
import sys

import numpy as np
import pytest

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.images.ranges import Rule
from cfi_jax.volumes import dicom, nifti, reading
from cfi_jax.volumes import volume as volumes
from cfi_jax.volumes.values import to_greys
from cfi_jax.volumes.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra `medical` is not installed")
nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")

SHAPE = 6, 10, 12  # slices, rows, columns
HU = np.random.default_rng(0).integers(-1024, 1000, SHAPE).astype(np.int16)
LPS = np.diag([-0.5, -0.75, 2.0, 1.0])


def write(path, stored, series="1.2.3", place=0.0, **fields):
  """A DICOM file of one image, or of several frames, [rows, columns] uint16."""
  meta = pydicom.dataset.FileMetaDataset()
  meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
  meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
  header = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
  values = dict(
    SOPClassUID=meta.MediaStorageSOPClassUID, SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
    SeriesInstanceUID=series, Modality="CT", SamplesPerPixel=1, BitsAllocated=16, BitsStored=12,
    HighBit=11, PixelRepresentation=0, PhotometricInterpretation="MONOCHROME2",
    ImagePositionPatient=[0, 0, place], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    PixelSpacing=[0.75, 0.5], SliceThickness=2, RescaleSlope=1, RescaleIntercept=-1024,
  )  # fmt: skip
  for name, value in (values | fields).items():
    if value is not None:
      setattr(header, name, value)
  header.Rows, header.Columns = stored.shape[-2:]
  if stored.ndim == 3:
    header.NumberOfFrames = len(stored)
  header.PixelData = stored.astype(np.uint16).tobytes()
  header.save_as(path, enforce_file_format=True)


@pytest.fixture
def series(tmp_path):
  """A folder with a series whose names are in no order."""
  folder = tmp_path / "ct"
  folder.mkdir()
  names = np.random.default_rng(1).permutation(len(HU))
  for k, image in enumerate(HU):
    write(folder / f"IM{names[k]}", image + 1024, place=2 * k, WindowCenter=40, WindowWidth=400)
  (folder / "notes.txt").write_text("no image")
  return folder


def save(path, array, affine=LPS, code=1):
  image = nibabel.Nifti1Image(array, affine)
  image.set_sform(affine, code)
  image.set_qform(affine, code)
  nibabel.save(image, path)
  return path


def test_a_series_is_in_the_order_of_positions_in_hounsfield_units(series):
  found = reading.read(series)
  np.testing.assert_array_equal(found.values, HU.transpose(2, 1, 0))
  assert found.unit == "HU" and found.window == (-160, 239)
  np.testing.assert_allclose(found.affine, LPS, atol=1e-12)
  assert "".join(nibabel.aff2axcodes(found.affine)) == "LPS"
  assert volumes.thickest(found) == "axial"


def test_a_file_of_frames_is_a_volume(tmp_path):
  write(tmp_path / "frames.dcm", HU + 1024)
  found = reading.read(tmp_path / "frames.dcm")
  np.testing.assert_array_equal(found.values, HU.transpose(2, 1, 0))
  np.testing.assert_allclose(found.affine, LPS, atol=1e-12)


def items(**fields):
  """A sequence of DICOM of one item."""
  item = pydicom.Dataset()
  for name, value in fields.items():
    setattr(item, name, value)
  return pydicom.Sequence([item])


def test_functional_groups_say_where_frames_lie_and_what_they_mean(tmp_path):
  """Enhanced DICOM, its frames in no order."""
  order = np.random.default_rng(3).permutation(len(HU))
  places = [items(ImagePositionPatient=[0, 0, 2 * int(k)]) for k in order]
  shared = items(
    PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    PixelMeasuresSequence=items(PixelSpacing=[0.75, 0.5]),
    PixelValueTransformationSequence=items(RescaleSlope=2, RescaleIntercept=-1024),
    FrameVOILUTSequence=items(WindowCenter=40, WindowWidth=400, VOILUTFunction="LINEAR_EXACT"),
  )
  own = pydicom.Sequence([items(PlanePositionSequence=place)[0] for place in places])
  names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
  write(
    tmp_path / "enhanced.dcm",
    (HU[order] + 1024) // 2,
    **dict.fromkeys((*names, "RescaleSlope", "RescaleIntercept")),
    PerFrameFunctionalGroupsSequence=own,
    SharedFunctionalGroupsSequence=shared,
  )
  found = reading.read(tmp_path / "enhanced.dcm")
  np.testing.assert_array_equal(found.values, ((HU + 1024) // 2 * 2 - 1024).transpose(2, 1, 0))
  np.testing.assert_allclose(found.affine, LPS, atol=1e-12)
  assert found.window == (-160, 240)


def test_a_series_from_feet_to_head_or_back_is_the_same_volume(series):
  """Oblique too: the order follows the normal of the images, not an axis of the patient."""
  for path in series.glob("IM*"):
    header = pydicom.dcmread(path)
    place = float(header.ImagePositionPatient[2])
    header.ImageOrientationPatient = [1, 0, 0, 0, 0.6, 0.8]
    header.ImagePositionPatient = [0, -0.8 * place, 0.6 * place]
    header.save_as(path)
  found = reading.read(series)
  np.testing.assert_array_equal(found.values, HU.transpose(2, 1, 0))
  np.testing.assert_allclose(found.spacing, [0.5, 0.75, 2.0])


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda f: write(f / "other", HU[0] + 1024, series="9.9"), "2 series"),
    (lambda f: write(f / "twice", HU[0] + 1024, place=4), "several images of one place"),
    (lambda f: write(f / "far", HU[0] + 1024, place=16), "is one missing"),
    (lambda f: write(f / "wide", HU[0, :, :8] + 1024, place=12), "size, spacing or direction"),
    (
      lambda f: write(f / "screen", HU[0] + 1024, place=12, PhotometricInterpretation="RGB"),
      "not a scan",
    ),
    (lambda f: write(f / "lost", HU[0] + 1024, ImagePositionPatient=None), "where it lies"),
    (lambda f: (f / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40), "bad.dcm"),
  ],
)
def test_what_is_no_volume_is_refused(series, change, said):
  change(series)
  with pytest.raises(InputError, match=said):
    reading.read(series)


@pytest.mark.parametrize("fetched", [0, 1, len(HU)])  # a header first; then all; then pixels
def test_a_full_disk_of_what_is_fetched_is_no_damage(series, monkeypatch, fetched):
  (series / "notes.txt").unlink()
  left = iter(range(fetched))

  def fetch(path):
    if next(left, None) is None:
      raise StorageError("full")
    return path

  monkeypatch.setattr(dicom.storage, "local", fetch)
  with pytest.raises(StorageError, match="^full$"):
    reading.read(series)


def test_a_full_disk_of_a_fetched_volume_is_no_damage(tmp_path, monkeypatch):
  def fetch(path):
    raise StorageError("full")

  save(tmp_path / "ct.nii.gz", np.zeros((4, 4, 4), np.int16))
  monkeypatch.setattr(nifti.storage, "local", fetch)
  with pytest.raises(StorageError, match="^full$"):
    reading.read(tmp_path / "ct.nii.gz")


def test_monochrome1_is_inverted_but_for_hounsfield_units(tmp_path):
  stored = HU[0] + 1024
  write(tmp_path / "mr.dcm", stored, Modality="MR", PhotometricInterpretation="MONOCHROME1")
  write(tmp_path / "ct.dcm", stored, PhotometricInterpretation="MONOCHROME1")
  mr, ct = reading.read(tmp_path / "mr.dcm"), reading.read(tmp_path / "ct.dcm")
  low, high = (
    to_greys(v, v.values, Rule("window", -1024, 3071), "visible").values.ravel() for v in (mr, ct)
  )
  np.testing.assert_allclose(low, 1 - high, atol=1e-6)
  assert np.corrcoef(high, stored.T.ravel())[0, 1] > 0.999


def test_padding_is_black_and_no_part_of_the_percentiles(tmp_path):
  stored = (HU[0] + 1024) // 2 + 300
  stored[:4] = 0
  write(tmp_path / "mr.dcm", stored, Modality="MR", PixelPaddingValue=0, RescaleIntercept=0)
  found = reading.read(tmp_path / "mr.dcm")
  assert found.values.min() == stored[4:].min()
  greys = to_greys(found, found.values, Rule(), "infrared")
  assert greys.values[:, :4].max() == 0 and "percentiles of the volume" in greys.said


def test_compressed_pixels_name_the_decoders(tmp_path, monkeypatch):
  write(tmp_path / "a.dcm", HU[0] + 1024)
  monkeypatch.setattr(
    pydicom.dataset.Dataset, "pixel_array", property(lambda _: 1 / 0), raising=False
  )
  with pytest.raises(InputError, match=r"a\.dcm.*pylibjpeg-openjpeg"):
    reading.read(tmp_path / "a.dcm")


def test_nifti_is_scaled_and_says_where_it_lies(tmp_path):
  image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), LPS)
  image.header.set_slope_inter(2, 10)
  image.set_sform(LPS, 1)
  nibabel.save(image, tmp_path / "a.nii.gz")
  found = nifti.read(tmp_path / "a.nii.gz")
  raw = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
  np.testing.assert_allclose(found.values, raw)
  save(tmp_path / "lost.nii", HU, code=0)
  with pytest.raises(InputError, match="sform nor qform"):
    nifti.read(tmp_path / "lost.nii")
  save(tmp_path / "times.nii", np.zeros((4, 4, 4, 3), np.float32))
  with pytest.raises(InputError, match=r"times\.nii: has shape"):
    nifti.read(tmp_path / "times.nii")
  (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:200])
  with pytest.raises(InputError, match=r"cut\.nii\.gz"):
    nifti.read(tmp_path / "cut.nii.gz")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "rgb"])
def test_nifti_is_written_with_the_affine_of_the_reference(tmp_path, dtype):
  oblique = LPS.copy()
  oblique[:3, :3] = [[0.4, 0, 0], [0, 0.6, -1.6], [0, 0.45, 1.2]]
  oblique[:3, 3] = 3.5, -20, 7
  values = np.random.default_rng(2).random(SHAPE)
  if dtype == "rgb":
    values = (np.stack([values, values / 2, 1 - values], -1) * 255).astype(np.uint8)
  else:
    values = (values * 255).astype(dtype)
  nifti.write(tmp_path / "a.nii.gz", values, Volume(values, oblique, ""), "not for diagnosis")
  found = nifti.read(tmp_path / "a.nii.gz")
  np.testing.assert_array_equal(found.values, values)
  np.testing.assert_allclose(found.affine, oblique, atol=1e-6)
  header = nibabel.load(tmp_path / "a.nii.gz").header
  assert header["sform_code"] == header["qform_code"] == 1
  assert bytes(header["descrip"]).startswith(b"not for diagnosis")


def ball(affine, shape=(16, 18, 20)):
  """A smooth function of the patient's coordinates, sampled on a grid."""
  places = np.stack([*np.indices(shape), np.ones(shape)], -1) @ affine.T
  x, y, z = (places[..., k] / 10 for k in range(3))
  return Volume((x + 2 * y - z).astype(np.float32), affine, "v")


def test_turned_axes_are_the_same_grid():
  """LPS and RAS files of one scan: flips and exchanged axes, no interpolation."""
  reference = ball(np.diag([1.0, 1.0, 2.0, 1.0]))
  flipped = np.flip(reference.values, (0, 1)).transpose(1, 0, 2)
  affine = np.array([[0, -1.0, 0, 15], [-1.0, 0, 0, 17], [0, 0, 2, 0], [0, 0, 0, 1]])
  brought = volumes.bring(Volume(flipped, affine, "w"), reference, resample=False)
  np.testing.assert_array_equal(brought, reference.values)


def test_other_grids_are_refused_and_resampled_when_asked():
  reference = ball(np.diag([1.0, 1.0, 2.0, 1.0]))
  affine = np.diag([1.5, 1.5, 1.5, 1.0])
  affine[:3, 3] = -2, -3, 4
  other = ball(affine)
  with pytest.raises(InputError, match="the grids differ.*--resample"):
    volumes.bring(other, reference, resample=False)
  brought = volumes.bring(other, reference, resample=True)
  known = np.isfinite(brought)
  assert 0.3 < known.mean() < 1
  np.testing.assert_allclose(brought[known], reference.values[known], atol=1e-4)
  shifted = Volume(reference.values, reference.affine + 0.05 * np.eye(4, k=3), "s")
  with pytest.raises(InputError, match="the grids differ"):
    volumes.bring(shifted, reference, resample=False)


@pytest.mark.parametrize("seed", range(8))
def test_a_border_that_both_grids_share_is_not_lost(seed):
  """Positions of an oblique grid are rounded, to either side of the border."""
  random = np.random.default_rng(seed)
  coarse, fine = np.eye(4), np.eye(4)
  turned = np.linalg.qr(random.normal(size=(3, 3)))[0]
  coarse[:3, :3], fine[:3, :3] = 2 * turned, turned
  coarse[:3, 3] = fine[:3, 3] = random.uniform(-100, 100, 3)
  values = np.arange(5, dtype=np.float32) + np.zeros((4, 3, 5), np.float32)
  other = Volume(values, coarse, "o")
  brought = volumes.bring(other, Volume(np.zeros((7, 5, 9)), fine, "r"), resample=True)
  np.testing.assert_allclose(brought, np.arange(9) / 2 + np.zeros((7, 5, 9)), atol=1e-4)
  larger = volumes.bring(other, Volume(np.zeros((8, 5, 9)), fine, "r"), resample=True)
  assert np.isnan(larger[7]).all() and np.isfinite(larger[:7]).all()


def test_frames_of_reference_must_be_one():
  one, other = (Volume(np.zeros((8, 8, 8)), np.eye(4), "v", frame=f) for f in ("1.2", "1.3"))
  with pytest.raises(InputError, match="frames of reference"):
    volumes.bring(one, other, resample=False)
  assert volumes.bring(one, other, resample=True).shape == (8, 8, 8)


@pytest.mark.parametrize("codes", volumes.PLANES.values())
def test_turning_back_inverts_turning(codes):
  affine = np.array([[0, 0, 3.0, 0], [-1, 0.1, 0, 0], [0.1, 1, 0, 0], [0, 0, 0, 1]])  # PSR
  values = np.random.default_rng(0).random((3, 4, 5))
  turned = volumes.turn(values, affine, codes)
  np.testing.assert_array_equal(volumes.turn_back(turned, affine, codes), values)
  size = {"A": 3, "P": 3, "S": 4, "I": 4, "R": 5, "L": 5}
  assert turned.shape == tuple(size[code] for code in codes)


@pytest.mark.parametrize(
  ("volume", "rule", "ends"),
  [
    (dict(unit="HU"), Rule(), (-160, 240)),
    (dict(unit="HU", window=(0, 80)), Rule(), (0, 80)),
    (dict(unit="HU", window=(0, 80)), Rule("window", -1000, 1000), (-1000, 1000)),
    (dict(window=(0, 80)), Rule("percentile"), (5, 995)),
  ],
)
def test_windows_are_the_rule_s_the_file_s_or_the_unit_s(volume, rule, ends):
  values = np.linspace(0, 1000, 1001, dtype=np.float32).reshape(7, 11, 13)
  values[0, 0, 0] = np.nan
  greys = to_greys(Volume(values, np.eye(4), "v", **volume), values, rule, "visible")
  assert greys.values[0, 0, 0] == 0 and not greys.valid[0, 0, 0]
  wanted = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
  np.testing.assert_allclose(greys.values.ravel()[1:], wanted.ravel()[1:], atol=2e-3)


def test_values_that_look_like_hounsfield_units_are_told():
  values = np.linspace(-1000, 900, 512, dtype=np.float32).reshape(8, 8, 8)
  said = to_greys(Volume(values, np.eye(4), "v"), values, Rule(), "visible").said
  assert "--normalize=visible:window=-160:240" in said


def test_volumes_are_told_from_pictures(series, tmp_path):
  save(tmp_path / "a.nii.gz", HU)
  (tmp_path / "pictures").mkdir()
  (tmp_path / "pictures" / "a.png").write_bytes(b"x")
  assert reading.is_volume(series) and reading.is_volume(tmp_path / "a.nii.gz")
  assert reading.is_volume(next(series.glob("IM*")))
  shutil.copytree(series, tmp_path / "exported" / "ST000" / "SE000")
  assert reading.is_volume(tmp_path / "exported")
  assert not reading.is_volume(tmp_path / "pictures")
  assert not reading.is_volume(tmp_path / "pictures" / "a.png")
  assert not reading.is_volume(tmp_path / "nowhere")


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
  monkeypatch.setitem(sys.modules, "pydicom", None)
  with pytest.raises(InputError, match=r"cfi_jax\[medical\]"):
    volumes.need("pydicom")
