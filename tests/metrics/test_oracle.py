"""`strict` against definitions written out anew in NumPy and SciPy."""

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal

SOBEL_ACROSS = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)


def entropy(x):
  p = np.unique(x, return_counts=True)[1] / x.size
  return -np.sum(p * np.log2(p))


def information(x, y):
  return entropy(x) + entropy(y) - entropy(x.astype(int) * 1000 + y)


def sobel(x, border):
  mode = {"replicate": "nearest", "reflect": "mirror"}[border]
  across = scipy.ndimage.correlate(x.astype(float), SOBEL_ACROSS, mode=mode)
  return across, scipy.ndimage.correlate(x.astype(float), SOBEL_ACROSS.T, mode=mode)


def central(x):
  down, across = np.gradient(x.astype(float))
  return across, down


def cross_entropy(f, a, b):
  def histogram(x):
    return (np.bincount(x.ravel(), minlength=256) + 1) / (x.size + 256)

  def divergence(x):
    return np.sum(histogram(x) * np.log2(histogram(x) / histogram(f)))

  return (divergence(a) + divergence(b)) / 2


def nmi(f, a, b):
  return sum(2 * information(f, s) / (entropy(f) + entropy(s)) for s in (a, b))


def rho(x, y):
  return np.corrcoef(x.ravel().astype(float), y.ravel().astype(float))[0, 1]


def window_moments(x, y, window):
  def average(z):
    return scipy.signal.correlate2d(z, window, mode="valid")

  mx, my = average(x), average(y)
  return mx, my, average(x * x) - mx**2, average(y * y) - my**2, average(x * y) - mx * my


def gaussian_window(size, sigma):
  k = np.arange(size) - (size - 1) / 2
  window = np.exp(-(k[:, None] ** 2 + k[None] ** 2) / (2 * sigma**2))
  return window / window.sum()


def ssim(x, y):
  c1, c2 = 2.55**2, 7.65**2
  mx, my, vx, vy, c = window_moments(x.astype(float), y.astype(float), gaussian_window(11, 1.5))
  luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
  return np.mean(luminance * (2 * c + c2) / (vx + vy + c2))


def vif(reference, distorted):
  x, y = reference.astype(float), distorted.astype(float)
  numerator = denominator = 0.0
  for scale in range(1, 5):
    size = 2 ** (5 - scale) + 1
    window = gaussian_window(size, size / 5)
    if scale > 1:
      x, y = (scipy.signal.correlate2d(z, window, mode="valid")[::2, ::2] for z in (x, y))
    _, _, vx, vy, c = window_moments(x, y, window)
    for variance_x, variance_y, covariance in zip(
      np.maximum(vx, 0).flat, np.maximum(vy, 0).flat, c.flat, strict=True
    ):
      if variance_x < 1e-10:
        gain, noise, variance_x = 0.0, variance_y, 0.0
      else:
        gain = covariance / (variance_x + 1e-10)
        noise = variance_y - gain * covariance
      if variance_y < 1e-10:
        gain, noise = 0.0, 0.0
      if gain < 0:
        gain, noise = 0.0, variance_y
      noise = max(noise, 1e-10)
      numerator += np.log10(1 + gain**2 * variance_x / (noise + 2))
      denominator += np.log10(1 + variance_x / 2)
  return numerator / denominator


def qabf(f, a, b):
  def edge(x):
    across, down = sobel(x, "reflect")
    with np.errstate(divide="ignore", invalid="ignore"):
      angle = np.where(across == 0, np.pi / 2, np.arctan(-down / across))
    return np.hypot(across, down), angle

  strength_f, angle_f = edge(f)
  numerator = denominator = 0.0
  for source in (a, b):
    strength, angle = edge(source)
    larger = np.maximum(strength, strength_f)
    ratio = np.where(
      larger == 0, 1, np.minimum(strength, strength_f) / np.where(larger == 0, 1, larger)
    )
    turn = np.abs(angle - angle_f)
    agreement = 1 - np.minimum(turn, np.pi - turn) / (np.pi / 2)
    quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
    quality *= 0.9879 / (1 + np.exp(-22 * (agreement - 0.8)))
    numerator += np.sum(quality * strength)
    denominator += np.sum(strength)
  return numerator / denominator


def nabf(f, a, b):
  def edge(x):
    across, down = sobel(x, "reflect")
    across, down = across / 8, down / 8
    angle = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
      if down[at] != 0:
        angle[at] = np.arctan(across[at] / down[at])
      elif across[at] != 0:
        angle[at] = np.copysign(np.pi / 2, across[at])
    return np.hypot(across, down), angle

  (gf, of), sources = edge(f), [edge(a), edge(b)]
  added = (gf > sources[0][0]) & (gf > sources[1][0])
  numerator = denominator = 0.0
  for g, o in sources:
    both = (g > 0) & (gf > 0)
    ratio = np.where(both, np.minimum(g, gf) / np.maximum(np.maximum(g, gf), 1e-9), 0)
    agreement = np.abs(np.abs(o - of) - np.pi / 2) * 2 / np.pi
    quality = np.sqrt(
      0.9999 / (1 + np.exp(-19 * (ratio - 0.5))) * 0.9995 / (1 + np.exp(-22 * (agreement - 0.5)))
    )
    weight = np.where(g >= 2, g**1.5, 0.001)
    numerator += np.sum(added * (1 - quality) * weight)
    denominator += np.sum(weight)
  return numerator / denominator


def edge_map(x):
  across, down = sobel(x, "replicate")
  b = (across**2 + down**2) / 64
  out = np.zeros(x.shape)
  height, width = x.shape
  for r, c in np.argwhere(b > 4 * b.mean()):
    horizontal = abs(across[r, c]) >= abs(down[r, c])
    horizontal &= c == 0 or b[r, c - 1] <= b[r, c]
    horizontal &= c == width - 1 or b[r, c] > b[r, c + 1]
    vertical = abs(down[r, c]) >= abs(across[r, c])
    vertical &= r == 0 or b[r - 1, c] <= b[r, c]
    vertical &= r == height - 1 or b[r, c] > b[r + 1, c]
    out[r, c] = horizontal or vertical
  return out


def window_information(s, f):
  """Section 8.2 for one pair of windows of nine values each."""
  if np.array_equal(s, f):
    return 1.0
  if np.ptp(s) == 0 or np.ptp(f) == 0:
    return float(np.ptp(s) == 0 and np.ptp(f) == 0)
  p, q = (s - s.min()) / np.sum(s - s.min()), (f - f.min()) / np.sum(f - f.min())
  if np.count_nonzero(p) == 1 and np.count_nonzero(q) == 1:
    return float(np.argmax(p) == np.argmax(q))
  cells = np.arange(1, 10)
  cumulative_p, cumulative_q = np.cumsum(p), np.cumsum(q)
  correlation = np.corrcoef(p, q)[0, 1]
  deviations = [np.sqrt(max(w @ cells**2 - (w @ cells) ** 2, 0)) for w in (p, q)]
  if correlation >= 0:
    bound = np.minimum.outer(cumulative_q, cumulative_p)
  else:
    bound = np.maximum(np.add.outer(cumulative_q, cumulative_p) - 1, 0)
  covariance = np.sum(bound - np.outer(cumulative_q, cumulative_p))
  scale = correlation * deviations[0] * deviations[1]
  t = scale / covariance if abs(scale) > 1e-14 else 0.0
  mass = np.diff(np.diff(np.pad(bound, ((1, 0), (1, 0))), axis=0), axis=1)
  joint = (t * mass + (1 - t) * np.outer(q, p)).ravel()
  joint = joint[np.abs(joint) > 1e-15]
  joint_entropy = -np.sum(joint * np.log2(np.abs(joint)))
  marginal = -sum(np.sum(w[w > 0] * np.log2(w[w > 0])) for w in (p, q))
  return 2 * (marginal - joint_entropy) / marginal


def fmi(f, a, b, feature):
  maps = [feature(x) for x in (f, a, b)]
  height, width = f.shape
  values = []
  for r in range(height - 2):
    for c in range(width - 2):
      fused, *sources = (m[r : r + 3, c : c + 3].ravel(order="F") for m in maps)
      values += [window_information(source, fused) for source in sources]
  return np.mean(values)


def oracle(f, a, b):
  across, down = central(f)
  edge_across, edge_down = sobel(f, "replicate")
  floats = [x.astype(float) for x in (f, a, b)]
  error = (np.mean((floats[0] - floats[1]) ** 2) + np.mean((floats[0] - floats[2]) ** 2)) / 2
  steps = [np.mean(np.diff(floats[0], axis=axis) ** 2) for axis in (0, 1)]
  return {
    "EN": entropy(f),
    "SD": np.std(floats[0]),
    "SF": np.sqrt(sum(steps)),
    "AG": np.mean(np.sqrt((across**2 + down**2) / 2)),
    "EI": np.mean(np.hypot(edge_across, edge_down)),
    "CE": cross_entropy(f, a, b),
    "MI": information(f, a) + information(f, b),
    "NMI": nmi(f, a, b),
    "CC": (rho(f, a) + rho(f, b)) / 2,
    "SCD": rho(floats[0] - floats[2], a) + rho(floats[0] - floats[1], b),
    "MSE": error,
    "PSNR": 10 * np.log10(255**2 / error),
    "SSIM": (ssim(f, a) + ssim(f, b)) / 2,
    "VIF": vif(a, f) + vif(b, f),
    "Qabf": qabf(f, a, b),
    "Nabf": nabf(f, a, b),
    "FMI_none": fmi(f, a, b, lambda x: x.astype(float)),
    "FMI_gradient": fmi(f, a, b, lambda x: central(x)[0]),
    "FMI_edge": fmi(f, a, b, edge_map),
    "FMI_dct": fmi(f, a, b, lambda x: scipy.fft.dctn(x.astype(float), norm="ortho")),
  }


@pytest.mark.parametrize("precision", ("float64", "float32"))
def test_strict(precision, scene, measure, request):
  if precision == "float64":
    request.getfixturevalue("x64")
  visible, infrared, fused = scene
  # in float32 FMI and VIF run the code that test_fixture.py checks under `tang`
  scores = measure(visible, infrared, fused, "strict", costly=precision == "float64")
  expected = oracle(fused, infrared, visible)
  assert set(expected) == set(scores) or precision == "float32"
  for metric, score in scores.items():
    relative = 1e-9 if precision == "float64" else 1e-5
    assert score.value == pytest.approx(expected[metric], rel=relative, abs=0), metric


def test_scikit_image_has_the_same_ssim_and_psnr(scene, measure, x64):
  library = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
  visible, infrared, fused = scene
  scores = measure(visible, infrared, fused, "strict")
  expected = [
    library.structural_similarity(
      source,
      fused,
      data_range=255,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
    )
    for source in (infrared, visible)
  ]
  assert scores["SSIM"].value == pytest.approx(np.mean(expected), rel=1e-9)
  own = measure(visible, visible, fused, "strict")
  assert own["PSNR"].value == pytest.approx(
    library.peak_signal_noise_ratio(visible, fused, data_range=255), rel=1e-12
  )
  box = measure(visible, infrared, fused, "cddfuse")["SSIM"].value
  expected = sum(
    library.structural_similarity(source.astype(float), fused.astype(float), data_range=2.0)
    for source in (infrared, visible)
  )
  assert box == pytest.approx(expected, rel=1e-9)
