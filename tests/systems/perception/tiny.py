"""The smallest config of perception, for tests/systems/test_contract.py."""

from cfi_jax.systems.perception import recipes


def get_config(fusion="special"):
  config = recipes.get(fusion)
  # The size is that of the commands in tests/test_documents.py: one compiled world.
  config.data.update(size=32, scenes=16, validation_scenes=3, test_scenes=2)
  config.input.update(crop=16, device_gb=0.0)
  config.model.width = 4
  config.batch_size = 4
  config.steps = 40
  config.optim.warmup_steps = 4
  # With a smaller one Adam makes steps of the rounding of gradients that are all but 0, which
  # differs between one device and four: of 4 channels each is normalised alone, without its bias.
  config.optim.eps = 1e-3
  config.checkpoint.every = 5
  config.log_every = 1
  config.validate_every = 20
  config.validation_pairs = 3
  config.pictures = 1
  return config
