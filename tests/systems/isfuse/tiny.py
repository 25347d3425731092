"""The smallest config of ISFuse, for tests/systems/test_contract.py."""

from cfi_jax.data.naming import OPTIONS
from cfi_jax.systems.isfuse import recipes


def get_config():
  config = recipes.released()
  config.data = dict(
    name="folder",
    root="",
    visible="visible",
    infrared="infrared",
    validation_fraction=0.25,
    **OPTIONS,
  )
  config.input.crop = 16
  config.input.device_gb = 0.0
  config.batch_size = 4
  config.steps = 40
  config.model.update(features=4, grid=2, levels=1)
  config.masks.size = (4, 4)
  config.loss.invariance.views = ("complementary",)
  config.loss.necessity.views = ()
  config.checkpoint.every = 5
  config.log_every = 1
  config.validate_every = 20
  config.validation_pairs = 3
  config.validation_metrics = ("EN",)
  config.pictures = 1
  return config
