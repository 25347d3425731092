"""The authors' release of ISFuse (arXiv 2603.23272)."""

RELEASED = {
  "name": "isfuse",
  "features": 32,
  "grid": 8,
  "shared_encoder": False,
  "gate": "released",
  "padding": "zeros",
}
