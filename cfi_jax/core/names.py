"""Numbers of names; imports no JAX."""

import zlib


def name_number(name: str) -> int:
  """A number in [0, 2^32) that belongs to the name alone; other names may come and go."""
  return zlib.crc32(name.encode(errors="surrogatepass"))
