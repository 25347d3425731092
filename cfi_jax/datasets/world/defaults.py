"""The embedded world as configs take it by default."""

from ml_collections import ConfigDict


def street_scenes() -> ConfigDict:
  """Returns the options of the embedded data set; `SceneOptions` and `Synthetic` define them."""
  return ConfigDict(
    dict(
      name="synthetic",
      scenes=256,
      validation_scenes=16,
      test_scenes=16,
      seed=0,
      size=128,
      objects=(2, 6),
      correlation=0.5,
      night=0.3,
      smoke=0.07,
      darkness=0.06,
      crossover=0.12,
      read_noise=0.008,
      shot_noise=0.02,
      infrared_noise=0.012,
      pattern_noise=0.005,
      infrared_blur=0.9,
      visibility=3.0,
    )
  )
