"""The smallest config of each toy, tests/toys/tiny.py:NAME."""

from ml_collections import ConfigDict

from cfi_jax.data.naming import OPTIONS


def get_config(name):
  values = dict(
    seed=0,
    system=name,
    data=dict(
      name="folder",
      root="",
      visible="visible",
      infrared="infrared",
      validation_fraction=0.25,
      **OPTIONS,
    ),
    input=dict(
      crop=16,
      flip=True,
      transpose=True,
      workers=0,
      threads=1,
      prefetch=1,
      device_gb=0.0,
      cache_gb=16.0,
      shuffle="records",
      normalize="auto",
      normalize_over="image",
    ),  # fmt: skip
    batch_size=4,
    steps_per_dispatch=1,
    epochs=0.0,
    steps=40,
    checkpoint=dict(every=5, keep=2, best="loss", direction="lower"),
    log_every=1,
    validate_every=20,
    validation_pairs=3,
    pictures=1,
    memory_gb=0.0,
    init_from="",
    hash_contents=False,
    profile_steps="",
  )
  if name == "frozen":
    values["teacher"] = ""
  return ConfigDict(values)
