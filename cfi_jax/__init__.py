"""Multi-modal image fusion with intervention-stable features (ISFuse / CFI), in JAX."""

__version__ = "0.1.0"
