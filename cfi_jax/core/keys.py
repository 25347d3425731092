"""Random numbers by name: keys and seeds that no other name's coming or going changes."""

import zlib


def name_number(name: str) -> int:
  """A number in [0, 2^32) for a name: its CRC-32."""
  return zlib.crc32(name.encode(errors="surrogatepass"))
