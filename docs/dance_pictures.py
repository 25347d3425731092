"""Draws a dance of one procedural person, and another person to dance it, for the transfer command.

  python docs/dance_pictures.py --output=DANCE
  python -m cfi_jax.transfer --source=DANCE/frames --target=DANCE/person.png \
      --source_keypoints=DANCE/keypoints --target_keypoints=DANCE/person_keypoints.json \
      --output=DANCE/dance.webp

Without keypoint files poses are read off the pictures. Poses change smoothly from one drawn pose to
the next, and back to the first.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cfi_jax.datasets.figures import people, render
from cfi_jax.keypoints.command import to_json


def draw_dance(
  seed: int, poses: int, between: int, size: int
) -> tuple[list[render.Figure], render.Figure]:
  """Frames of a dance, [poses * between], and a picture of another person; images are uint8."""
  keys = jax.random.split(jax.random.key(seed), 3)
  dancer, other = (people.draw_person(key) for key in keys[:2])
  # Facing the viewer, as a turn of half a circle between two poses would be no dance.
  drawn = jax.vmap(people.draw_pose)(jax.random.split(keys[2], poses + 1))
  drawn = drawn.replace(yaw=drawn.yaw - jnp.pi * (drawn.yaw > jnp.pi / 2))
  stops = jax.tree.map(lambda x: jnp.concatenate([x[:poses], x[:1]]), drawn)
  frame = jax.jit(functools.partial(render.render, size=size))

  def picture(person: people.Person, pose: people.Pose) -> render.Figure:
    figure = jax.device_get(frame(person, pose))
    return figure.replace(image=np.floor(figure.image * 255 + 0.5).astype(np.uint8))

  frames = []
  for index in range(poses * between):
    start, share = divmod(index, between)
    share = 0.5 - 0.5 * np.cos(np.pi * share / between)  # slow at both ends
    pose = jax.tree.map(lambda x: (1 - share) * x[start] + share * x[start + 1], stops)  # noqa: B023
    frames.append(picture(dancer, pose))
  return frames, picture(other, jax.tree.map(lambda x: x[poses], drawn))


def main() -> None:
  """Writes frames/*.png, person.png and their keypoint files into OUTPUT."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--seed", type=int, default=7)
  parser.add_argument("--poses", type=int, default=4)
  parser.add_argument("--between", type=int, default=8, help="frames from one pose to the next")
  parser.add_argument("--size", type=int, default=64)
  given = parser.parse_args()
  frames, person = draw_dance(given.seed, given.poses, given.between, given.size)
  for folder in ("frames", "keypoints"):
    (given.output / folder).mkdir(parents=True, exist_ok=True)
  for index, frame in enumerate(frames):
    Image.fromarray(frame.image).save(given.output / "frames" / f"{index:03d}.png")
    path = given.output / "keypoints" / f"{index:03d}_keypoints.json"
    path.write_text(to_json(frame.keypoints))
  Image.fromarray(person.image).save(given.output / "person.png")
  (given.output / "person_keypoints.json").write_text(to_json(person.keypoints))


if __name__ == "__main__":
  main()
