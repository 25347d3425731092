"""Procedural people: keypoints lie on their limbs, splits share no pose."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import FIXTURES
from editions import assert_known

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import resident
from cfi_jax.datasets.figures import album, joints, people, render, skeleton, triples
from cfi_jax.datasets.figures.skeleton import JOINTS, PARTS

OPTIONS = dict(
  name="figures", size=32, people=4, poses=4, groups=1, pairs=60, same=0.25, support=3,
  held_out_people=3, held_out_poses=3, validation_pairs=4, test_pairs=5, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
  return datasets.load(OPTIONS)


@pytest.fixture(scope="module")
def pictures(dataset):
  return dataset.album("train")


def test_parts_lie_under_visible_keypoints(pictures):
  parts = {  # that may be seen where a joint is: its limbs, and what overlaps them at the joint
    "elbow": ("upper arm", "forearm"), "wrist": ("forearm",), "knee": ("thigh", "shin"),
    "ankle": ("shin", "foot"),
  }  # fmt: skip
  seen = 0
  for k, name in enumerate(JOINTS):
    side, _, joint = name.partition(" ")
    if joint not in parts:
      continue
    allowed = {PARTS.index(f"{side} {part}") for part in parts[joint]}
    x, y, flag = pictures.keypoints[:, k].T
    assert set(np.unique(flag)) <= {0, 1, 2}
    for i in np.flatnonzero(flag == render.VISIBLE):
      row, column = int(y[i]), int(x[i])
      near = pictures.parts[i, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
      assert allowed & set(near.ravel().tolist()), (name, i)
      seen += 1
  assert seen > 60


def test_a_joint_behind_the_torso_is_hidden():
  person = people.draw_person(jax.random.key(1))
  pose = people.draw_pose(jax.random.key(2), 0.0).replace(head=jnp.zeros(()))
  draw, flags = jax.jit(render.render, static_argnums=2), {}
  for yaw in (0.0, np.pi / 2, np.pi):
    drawn = draw(person, pose.replace(yaw=jnp.float32(yaw)), 32)
    flags[yaw] = dict(zip(JOINTS, drawn.keypoints[:, 2].tolist(), strict=True))
  assert flags[0.0]["nose"] == render.VISIBLE and flags[np.pi]["nose"] == render.HIDDEN
  # From the side one ankle hides the other, and one wrist is behind the hips.
  side = flags[np.pi / 2]
  assert {side["right wrist"], side["left wrist"]} == {render.HIDDEN, render.VISIBLE}
  assert side["right ear"] != side["left ear"]


def test_people_stand_on_the_floor_and_left_is_on_the_right(pictures):
  person, pose = people.draw_person(jax.random.key(3)), people.draw_pose(jax.random.key(4), 0.0)
  stood = skeleton.stand(person, pose.replace(yaw=jnp.zeros(())))
  lowest = min(float(stood[f"{side} ankle"][1]) for side in ("right", "left"))
  assert lowest == pytest.approx(0.03 * float(person.height), abs=1e-6)
  assert stood["right hip"][0] < stood["left hip"][0]  # who faces us has the left on our right
  places = jnp.array([[0.2, 0.7], [0.9, 0.1]])
  there = jnp.concatenate([skeleton.to_world(places), jnp.zeros((2, 1))], axis=-1)
  np.testing.assert_allclose(skeleton.to_picture(there), places, atol=1e-6)
  several = jnp.stack([there] * 3)
  np.testing.assert_allclose(skeleton.to_picture(several), [places] * 3, atol=1e-6)
  # Rotations keep lengths: a forearm is as long in every pose.
  for key in range(3):
    stood = skeleton.stand(person, people.draw_pose(jax.random.key(key)))
    arm = jnp.linalg.norm(stood["left wrist"] - stood["left elbow"])
    assert float(arm) == pytest.approx(0.14 * float(person.height), rel=1e-5)
  assert 0.05 < (pictures.parts > 0).mean() < 0.4


def test_a_picture_does_not_depend_on_its_company(dataset, pictures):
  few = album.draw(dataset.crowd("known"), 32)
  again = album.draw.__wrapped__(datasets.load(OPTIONS | {"held_out_poses": 2}).crowd("known"), 32)
  np.testing.assert_array_equal(
    few.images.reshape(3, 3, 32, 32, 3)[:, :2].reshape(-1, 32, 32, 3), again.images
  )
  other = datasets.load(OPTIONS | {"seed": 1})
  assert not np.array_equal(album.draw(other.crowd("known"), 32).images, few.images)


def test_the_people_are_those_of_their_edition(dataset, pictures, request):
  found = {
    "images": pictures.images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4)),
    "keypoints": pictures.keypoints * [100, 100, 1],
    "parts": np.stack([(pictures.parts == k).sum((1, 2)) for k in range(len(PARTS))], 1),
  }
  path = FIXTURES / f"figures_{dataset.source('train').edition}.npz"
  assert_known(found, path, request, dict.fromkeys(found, 2))


def test_splits_share_no_pose_and_only_known_people(dataset):
  drawn = {}
  for split in dataset.splits:
    crowd = dataset.crowd(split)
    drawn[split] = {"people": crowd.people, "poses": crowd.poses}
  for one, two in itertools.combinations(dataset.splits, 2):
    assert drawn[one]["poses"] != drawn[two]["poses"]
    if {one, two} != {"train", "known"}:
      assert drawn[one]["people"] != drawn[two]["people"]
  # Keypoints tell poses apart, garments tell people apart: of held-out people all are new.
  train, test = (dataset.album(split).keypoints[..., :2] for split in ("train", "test"))
  distance = np.abs(train[:, None] - test[None]).max((2, 3))
  assert distance.min() > 0.5
  known = dataset.album("known").images[::3, 0, 0]
  np.testing.assert_array_equal(known, dataset.album("train").images[::4, 0, 0][:3])


def test_the_three_kinds_of_records(dataset):
  source = dataset.source("train")
  records = [source.record(i) for i in range(len(source))]
  crowd = dataset.crowd("train")
  member = {
    role: np.array([crowd.members()[r.pictures[role][1]] for r in records])
    for role in ("source", "target", "truth")
  }
  same = np.array([r.kind == "same" for r in records])
  assert 0.1 < same.mean() < 0.45
  np.testing.assert_array_equal(member["truth"][:, 0], member["target"][:, 0])  # the person
  np.testing.assert_array_equal(member["truth"][:, 1], member["source"][:, 1])  # the pose
  assert (member["source"][:, 1] != member["target"][:, 1]).all()
  np.testing.assert_array_equal(member["source"][:, 0] == member["target"][:, 0], same)
  support = dataset.source("support")
  assert len(support) == 6 and "truth" not in support[0]
  places = [support.record(i).pictures for i in range(6)]
  assert [p["source"][0] for p in places] == ["support", "train"] * 3
  assert [p["target"][0] for p in places] == ["train", "support"] * 3
  assert not [name for name in source[0] if "parts" in name]
  test = dataset.source("test")
  place = test.record(2).pictures["truth"][1]
  np.testing.assert_array_equal(test[2]["truth_parts"][..., 0], dataset.album("test").parts[place])
  assert all(dataset.source("test").record(i).kind == "cross" for i in range(5))


def test_people_of_a_group_share_poses_of_its_own():
  grouped = datasets.load(OPTIONS | {"people": 6, "poses": 3, "groups": 2})
  members = grouped.crowd("train").members()
  assert len(members) == 18 and len(np.unique(members, axis=0)) == 18
  for group in range(2):
    poses = members[members[:, 0] % 2 == group, 1]
    assert sorted(set(poses.tolist())) == [3 * group, 3 * group + 1, 3 * group + 2]
  source = grouped.source("train")
  for i in range(len(source)):
    target, wanted, truth = (
      members[source.record(i).pictures[role][1]] for role in ("target", "source", "truth")
    )
    assert target[0] % 2 == wanted[0] % 2 and (truth == (target[0], wanted[1])).all()
  others = {int(members[source.record(i).pictures["source"][1], 0]) for i in range(len(source))}
  assert others == set(range(6))


def test_triples_have_the_keypoints_of_pictures_that_nobody_draws():
  key = jax.random.key(8)
  source, target, truth = (np.asarray(points) for points in triples.draw(key, 32))
  own, other, shown, wanted, *_ = jax.random.split(key, 6)
  for points, who, what in ((source, other, wanted), (target, own, shown), (truth, own, wanted)):
    drawn = render.render(people.draw_person(who), people.draw_pose(what), 32).keypoints
    there = points[:, 2] > 0
    np.testing.assert_allclose(points[there, :2], np.asarray(drawn)[there, :2], atol=1e-3)
    assert not points[~there].any() and set(points[:, 2].tolist()) <= {0, 2}
    assert there.sum() >= 14 and (np.asarray(drawn)[there, 2] > 0).all()


def test_headers_are_those_of_the_images(dataset):
  for split in dataset.splits:
    source = dataset.source(split)
    (header, *_), images = source.check_headers(), source[0]
    assert header.keys() == images.keys()
    for name, image in images.items():
      assert image.shape == (header[name].height, header[name].width, header[name].channels)
      assert image.dtype == header[name].depth == np.uint8
  assert source.fingerprint() != dataset.source("test").fingerprint()
  layout = resident.lay_out(dataset.source("validation").check_headers(), 32)
  canvases = resident.read(dataset.source("validation"), layout)
  cut = resident.cut(canvases, np.array([2, 0, 0, 0, 0, 0]), 32)
  np.testing.assert_allclose(
    cut["truth_joints"] * 255, dataset.source("validation")[2]["truth_joints"]
  )


def test_keypoints_survive_as_pictures_whatever_is_cut(random):
  keypoints = np.concatenate(
    [random.uniform(0.5, 31.5, (40, 2)), random.integers(0, 3, (40, 1))], 1
  )
  keypoints[:3, 2] = 0, 1, 2
  picture = joints.encode(keypoints, 32)
  there = keypoints[:, 2:] > 0
  np.testing.assert_array_equal(
    picture.sum((0, 1)), np.array(joints.MASS)[keypoints[:, 2].astype(int)]
  )
  decoded = np.asarray(joints.decode(jnp.asarray(picture / 255, jnp.float32)))
  np.testing.assert_array_equal(decoded[:, 2], keypoints[:, 2])
  np.testing.assert_allclose(decoded[:, :2], keypoints[:, :2] * there, atol=0.01)
  flipped = np.asarray(joints.decode(jnp.asarray(picture[::-1] / 255, jnp.float32)))
  np.testing.assert_allclose(flipped[:, 1], (32 - keypoints[:, 1]) * there[:, 0], atol=0.01)
  edge = np.array([[0.0, 32.0, 2.0]])
  np.testing.assert_allclose(
    joints.decode(joints.encode(edge, 32) / 255.0), [[0.5, 31.5, 2]], atol=1e-5
  )


@pytest.mark.parametrize(
  ("field", "value", "allowed"),
  [
    ("size", 20, "a multiple of 8 from 16"), ("people", 1, "a whole number from 2"),
    ("pairs", 0, "a whole number from 1"), ("same", 1.5, "a number from 0 to 1"),
    ("seed", -1, "a whole number from 0"), ("groups", 3, "a divisor of data.people=4"),
    ("groups", 4, "at most data.people / 2"),
  ],
)  # fmt: skip
def test_options_that_cannot_be_are_named(field, value, allowed):
  with pytest.raises(InputError, match=f"data.{field} is .*allowed: {allowed}"):
    datasets.load(OPTIONS | {field: value})
  with pytest.raises(InputError, match="no split 'dev'; it offers train, support"):
    datasets.load(OPTIONS).source("dev")
