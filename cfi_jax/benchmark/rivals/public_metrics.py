"""Fusion metrics in the manner of public Python evaluators, written anew: slow, and plain to read.

One image at a time: dense SciPy 2-D convolutions, scikit-learn's and scikit-image's functions, FMI
as a Python loop over 3x3 windows. The definitions are those of the `strict` convention.
"""

import numpy as np
import scipy.fft
import scipy.signal
from skimage.measure import shannon_entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score

SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], float)  # flipped by the convolution


def convolve(x, kernel, border):
  """Dense convolution of the same size over an extended border."""
  padded = np.pad(x, kernel.shape[0] // 2, mode=border)
  return scipy.signal.convolve2d(padded, kernel, mode="valid")


def gaussian(size, sigma):
  """Dense Gaussian window of sum 1."""
  k = np.arange(size) - size // 2
  window = np.exp(-(k[:, None] ** 2 + k[None] ** 2) / (2 * sigma**2))
  return window / window.sum()


def gradients(x, border):
  """Sobel differences across and down."""
  return convolve(x, SOBEL, border), convolve(x, SOBEL.T, border)


def cross_entropy(f, source):
  """Divergence of the smoothed histograms in bits."""
  h = [np.bincount(x.astype(int).ravel(), minlength=256) + 1.0 for x in (source, f)]
  p, q = (x / x.sum() for x in h)
  return np.sum(p * np.log2(p / q))


def correlation(x, y):
  """Pearson correlation."""
  return np.corrcoef(x.ravel(), y.ravel())[0, 1]


def statistics(x, y, window):
  """Window means, variances and covariance by dense convolution."""

  def average(z):
    return scipy.signal.convolve2d(z, window, mode="valid")

  mx, my = average(x), average(y)
  return mx, my, average(x * x) - mx**2, average(y * y) - my**2, average(x * y) - mx * my


def multiscale(x, y):
  """MS-SSIM of one source."""
  value = 1.0
  for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
    if scale:
      x, y = (
        np.pad(z, ((0, z.shape[0] % 2), (0, z.shape[1] % 2)), mode="symmetric") for z in (x, y)
      )
      x, y = (scipy.signal.convolve2d(z, np.full((2, 2), 0.25), "valid")[::2, ::2] for z in (x, y))
    mx, my, vx, vy, c = statistics(x, y, gaussian(11, 1.5))
    term = (2 * c + 58.5225) / (vx + vy + 58.5225)
    if scale == 4:
      term = term * (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
    value *= max(term.mean(), 0) ** weight
  return value


def vif(x, y):
  """VIFp of one source."""
  numerator = denominator = 0.0
  for size in (17, 9, 5, 3):
    window = gaussian(size, size / 5)
    if size < 17:
      x, y = (scipy.signal.convolve2d(z, window, mode="valid")[::2, ::2] for z in (x, y))
    _, _, vx, vy, c = statistics(x, y, window)
    vx, vy = np.maximum(vx, 0), np.maximum(vy, 0)
    g = c / (vx + 1e-10)
    noise = vy - g * c
    g[vx < 1e-10], noise[vx < 1e-10] = 0, vy[vx < 1e-10]
    vx[vx < 1e-10] = 0
    g[vy < 1e-10], noise[vy < 1e-10] = 0, 0
    noise[g < 0] = vy[g < 0]
    g[g < 0] = 0
    noise = np.maximum(noise, 1e-10)
    numerator += np.sum(np.log10(1 + g**2 * vx / (noise + 2)))
    denominator += np.sum(np.log10(1 + vx / 2))
  return numerator / denominator


def edge_transfer(f, a, b):
  """Qabf."""

  def edge(x):
    sx, sy = gradients(x, "reflect")
    with np.errstate(divide="ignore", invalid="ignore"):
      return np.hypot(sx, sy), np.where(sx == 0, np.pi / 2, np.arctan(-sy / sx))

  (gf, af), total, weight = edge(f), 0.0, 0.0
  for g, angle in (edge(a), edge(b)):
    with np.errstate(invalid="ignore"):
      ratio = np.nan_to_num(np.minimum(g, gf) / np.maximum(g, gf), nan=1.0)
    turn = np.abs(angle - af)
    agreement = 1 - np.minimum(turn, np.pi - turn) * 2 / np.pi
    quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
    total += np.sum(quality * 0.9879 / (1 + np.exp(-22 * (agreement - 0.8))) * g)
    weight += g.sum()
  return total / weight


def artefacts(f, a, b):
  """Nabf."""

  def edge(x):
    gv, gh = (z / 8 for z in gradients(x, "reflect"))
    with np.errstate(divide="ignore", invalid="ignore"):
      return np.hypot(gv, gh), np.nan_to_num(np.arctan(gv / gh))

  (gf, of), sources, total, weight = edge(f), (edge(a), edge(b)), 0.0, 0.0
  added = (gf > sources[0][0]) & (gf > sources[1][0])
  for g, angle in sources:
    with np.errstate(invalid="ignore"):
      ratio = np.nan_to_num(np.minimum(g, gf) / np.maximum(g, gf))
    agreement = np.abs(np.abs(angle - of) - np.pi / 2) * 2 / np.pi
    quality = 0.9999 / (1 + np.exp(-19 * (ratio - 0.5)))
    quality = np.sqrt(quality * 0.9995 / (1 + np.exp(-22 * (agreement - 0.5))))
    w = np.where(g >= 2, g**1.5, 0.001)
    total += np.sum(added * (1 - quality) * w)
    weight += w.sum()
  return total / weight


def edge_map(x):
  """Thinned Sobel edges with automatic threshold."""
  bx, by = (z / 8 for z in gradients(x, "edge"))
  b = bx**2 + by**2
  around = np.pad(b, 1, constant_values=-1)
  across = (abs(bx) >= abs(by)) & (around[1:-1, :-2] <= b) & (b > around[1:-1, 2:])
  down = (abs(by) >= abs(bx)) & (around[:-2, 1:-1] <= b) & (b > around[2:, 1:-1])
  return ((b > 4 * b.mean()) & (across | down)).astype(float)


def window_information(s, f):
  """Normalised mutual information of one pair of windows."""
  if np.array_equal(s, f):
    return 1.0
  if np.ptp(s) == 0 or np.ptp(f) == 0:
    return float(np.ptp(s) == np.ptp(f))
  p, q = (s - s.min()) / np.sum(s - s.min()), (f - f.min()) / np.sum(f - f.min())
  if np.count_nonzero(p) == 1 and np.count_nonzero(q) == 1:
    return float(np.argmax(p) == np.argmax(q))
  cells, cp, cq = np.arange(1, 10), np.cumsum(p), np.cumsum(q)
  c = np.corrcoef(p, q)[0, 1]
  bound = np.minimum.outer(cq, cp) if c >= 0 else np.maximum(np.add.outer(cq, cp) - 1, 0)
  scale = c * np.sqrt(
    max(p @ cells**2 - (p @ cells) ** 2, 0) * max(q @ cells**2 - (q @ cells) ** 2, 0)
  )
  t = scale / np.sum(bound - np.outer(cq, cp)) if abs(scale) > 1e-14 else 0.0
  mass = np.diff(np.diff(np.pad(bound, ((1, 0), (1, 0))), axis=0), axis=1)
  joint = (t * mass + (1 - t) * np.outer(q, p)).ravel()
  joint = joint[np.abs(joint) > 1e-15]
  marginal = -sum(np.sum(w[w > 0] * np.log2(w[w > 0])) for w in (p, q))
  return 2 * (marginal + np.sum(joint * np.log2(np.abs(joint)))) / marginal


FEATURES = {
  "FMI_none": lambda x: x,
  "FMI_gradient": lambda x: np.gradient(x, axis=1),
  "FMI_edge": edge_map,
  "FMI_dct": lambda x: scipy.fft.dctn(x, norm="ortho"),
}


def fmi(f, a, b, feature):
  """Mean over all windows and both sources, by a loop."""
  maps = [feature(x) for x in (f, a, b)]
  values = []
  for r in range(f.shape[0] - 2):
    for c in range(f.shape[1] - 2):
      fused, *sources = (m[r : r + 3, c : c + 3].ravel(order="F") for m in maps)
      values += [window_information(source, fused) for source in sources]
  return np.mean(values)


def plain_evaluator(f_levels, a_levels, b_levels):
  """All metrics but FMI, one after the other; takes integer levels."""
  f, a, b = (x.astype(float) for x in (f_levels, a_levels, b_levels))
  error = (np.mean((f - a) ** 2) + np.mean((f - b) ** 2)) / 2
  down, across = np.gradient(f)
  sx, sy = gradients(f, "edge")
  mutual = [mutual_info_score(f_levels.ravel(), s.ravel()) for s in (a_levels, b_levels)]
  normal = [normalized_mutual_info_score(f_levels.ravel(), s.ravel()) for s in (a_levels, b_levels)]
  options = dict(data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
  peak = peak_signal_noise_ratio(np.zeros(1), np.sqrt([error]), data_range=255)
  return {
    "EN": shannon_entropy(f_levels),
    "SD": np.std(f),
    "SF": np.sqrt(np.mean(np.diff(f, axis=0) ** 2) + np.mean(np.diff(f, axis=1) ** 2)),
    "AG": np.mean(np.sqrt((across**2 + down**2) / 2)),
    "EI": np.mean(np.hypot(sx, sy)),
    "CE": (cross_entropy(f, a) + cross_entropy(f, b)) / 2,
    "MI": sum(mutual) / np.log(2),
    "NMI": sum(normal),
    "CC": (correlation(f, a) + correlation(f, b)) / 2,
    "SCD": correlation(f - b, a) + correlation(f - a, b),
    "MSE": error,
    "PSNR": peak,
    "SSIM": np.mean([structural_similarity(s, f_levels, **options) for s in (a_levels, b_levels)]),
    "MS_SSIM": (multiscale(f, a) + multiscale(f, b)) / 2,
    "VIF": vif(a, f) + vif(b, f),
    "Qabf": edge_transfer(f, a, b),
    "Nabf": artefacts(f, a, b),
  }
