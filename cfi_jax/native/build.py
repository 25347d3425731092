"""The shared library of the native kernels: found in the user's cache, or built on first use."""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import pathlib
import platform
import shutil
import stat
import subprocess
import tempfile

import jax
import jaxlib

SOURCES = pathlib.Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-w")
# What makes sums of products fast; none of these lets NaN or the order of sums be ignored.
FLAGS += ("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
MACHINE = {"x86_64": "-march=native", "AMD64": "-march=native"}  # others: -mcpu=native
SECONDS = 300  # after which a compiler is given up


class Unavailable(Exception):
  """The library can neither be found nor built; the message says why."""


@functools.cache
def library() -> tuple[ctypes.CDLL | None, str]:
  """The library and "", or None and why there is none, which one line says; once per process."""
  try:
    return _load(_find_or_build()), ""
  except Unavailable as error:
    logging.warning("native kernels are off: %s; training uses plain JAX", error)
    return None, str(error)


def compiler() -> str:
  """The C++ compiler: $CXX, else the first of COMPILERS."""
  chosen = os.environ.get("CXX")
  for name in (chosen,) if chosen else COMPILERS:
    if found := shutil.which(name):
      return found
  if chosen:
    raise Unavailable(f"the compiler of CXX={chosen!r} was not found")
  raise Unavailable(f"no C++ compiler was found ({', '.join(COMPILERS)})")


def folder() -> pathlib.Path:
  """The folder that libraries are kept in, which nobody but the user may write to."""
  try:
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  except RuntimeError as error:  # containers have users without an entry
    raise Unavailable("the user has no home folder; XDG_CACHE_HOME may name one") from error
  path = pathlib.Path(root) / "cfi_jax"
  try:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
  except OSError as error:
    raise Unavailable(f"the folder {path} cannot be used ({error.strerror})") from error
  if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise Unavailable(f"the folder {path} can be written by other users")
  if not os.access(path, os.W_OK | os.X_OK):
    raise Unavailable(f"the folder {path} cannot be written")
  return path


def _find_or_build() -> pathlib.Path:
  if os.name != "posix":
    raise Unavailable(f"{platform.system()} is not supported")
  command = [compiler(), *FLAGS, MACHINE.get(platform.machine(), "-mcpu=native")]
  command += ["-isystem", jax.ffi.include_dir(), str(SOURCES / "kernels.cc")]
  where, key = folder(), _key(command)
  for path in sorted(where.glob(f"native-{key}-*.so")):
    with contextlib.suppress(FileNotFoundError):  # another process may have found it damaged, too
      if path.name == _name(key, path):
        return path
      logging.warning("%s is damaged and built again", path)
      path.unlink()
  return _build(command, where, key)


def _key(command: list[str]) -> str:
  """A digest of all that decides what the compiler makes: sources, command, versions, processor."""
  version = _run([command[0], "--version"])
  parts = [" ".join(command), version, jaxlib.__version__, _processor()]
  for path in sorted(SOURCES.glob("*.[hc]*")):
    parts += [path.name, path.read_text()]
  return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _name(key: str, path: pathlib.Path) -> str:
  """The name of a library: its contents' digest tells a damaged file from a whole one."""
  return f"native-{key}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.so"


def _processor() -> str:
  """Abilities of the machine's processor, as far as the system tells."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return f"{platform.machine()} {platform.processor()}"
  return "\n".join(sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))}))


def _build(command: list[str], where: pathlib.Path, key: str) -> pathlib.Path:
  """Compiles into a file of its own that is renamed when whole, so that processes may race."""
  try:
    handle, name = tempfile.mkstemp(prefix="build-", dir=where)
    os.close(handle)
  except OSError as error:
    raise Unavailable(f"the folder {where} cannot be written ({error.strerror})") from error
  built = pathlib.Path(name)
  logging.info("native kernels are built once for this machine, which takes about 20 seconds")
  try:
    _run([*command, "-o", name])
    path = where / _name(key, built)
    os.replace(built, path)
  except OSError as error:
    raise Unavailable(f"the folder {where} cannot be written ({error.strerror})") from error
  finally:
    built.unlink(missing_ok=True)
  return path


def _run(command: list[str]) -> str:
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
  except subprocess.TimeoutExpired as error:
    raise Unavailable(f"{command[0]} did not end within {SECONDS} seconds") from error
  except OSError as error:
    raise Unavailable(f"{command[0]} did not run ({error.strerror})") from error
  if done.returncode:
    lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
    raise Unavailable(f"{command[0]} could not compile them ({lines[0].strip()})")
  return done.stdout


def _load(path: pathlib.Path) -> ctypes.CDLL:
  try:
    return ctypes.CDLL(str(path))
  except OSError as error:
    raise Unavailable(f"{path} cannot be loaded ({error})") from error
