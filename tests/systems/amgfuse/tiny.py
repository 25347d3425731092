"""The smallest config of AMG-Fuse, for tests/systems/test_contract.py: pairs in clear weather."""

from cfi_jax.systems.amgfuse import recipes


def get_config():
  config = recipes.small_folder()
  config.data.validation_fraction = 0.25
  config.input.update(crop=8, device_gb=0.0)
  config.batch_size = 4
  config.steps = 40
  # Shifted products, which are compared with these block by block, take longer to compile.
  config.model.update(width=16, blocks=(1,), heads=(1,), local="grouped")
  config.loss = dict(intensity=1.0)
  config.weather.kinds = ()
  config.pseudo.planes = 1
  # One epoch, so that the program is that of any number of steps.
  config.epochs = 1.0
  config.optim.update(warmup_epochs=0, final_learning_rate=2e-3)
  config.checkpoint.every = 5
  config.log_every = 1
  config.validate_every = 20
  config.validation_pairs = 3
  config.validation_metrics = ("EN",)
  config.pictures = 1
  return config
