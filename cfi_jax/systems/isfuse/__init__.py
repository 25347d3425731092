"""ISFuse with its Causal Feature Integrator."""
