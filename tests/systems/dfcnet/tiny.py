"""The smallest config of DFC-Net, for tests/systems/test_contract.py."""

from cfi_jax.systems.dfcnet import recipes


def get_config():
  config = recipes.small()
  config.data.update(
    size=16, people=3, poses=3, groups=1, pairs=24, support=3, held_out_people=2,
    held_out_poses=2, validation_pairs=4, test_pairs=4,
  )  # fmt: skip
  config.input.update(crop=16)
  config.model.update(side=16)
  config.batch_size, config.support_rows = 4, 4
  config.steps = 40
  config.loss.update(ramp_steps=2, consistency_from=3, proportions=10.0)
  config.optim.proportions_steps = 0
  # With a smaller one Adam makes steps of the rounding of gradients that are all but 0, which
  # differs between one device and four.
  config.optim.eps = 1e-4
  config.checkpoint.every = 5
  config.log_every = 1
  config.validate_every = 20
  config.validation_pairs = 3
  config.pictures = 1
  return config
