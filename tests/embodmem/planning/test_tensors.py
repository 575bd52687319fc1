"""The field and costmaps in torch."""

import sys

import numpy as np
import pytest

from embodmem.errors import InvalidInput, MissingDependency
from embodmem.planning import Costmap, DistanceField, as_torch
from embodmem.spatial.octree import unpack_keys
from tests.embodmem.planning.maps import octree_of, put

torch = pytest.importorskip("torch")


def small():
    values = np.full((9, 10, 12), -1.0)
    values[4, 5, 6] = values[0, 0, 0] = 1.0
    return octree_of(values, (-3, 2, -5))


def test_views_share_the_fields_memory():
    octree = small()
    field = DistanceField(octree, 0.6)
    views = as_torch(field)
    assert views.packed.dtype == torch.int32 and views.packed.shape == (field.stats().bricks, 512)
    z, y, x = np.mgrid[:8, :8, :8].reshape(3, -1)
    voxels = unpack_keys(views.keys.numpy())[:, None] * 8 + np.stack([x, y, z], axis=-1)
    squares = (views.packed >> 8).double()
    metres = torch.where(squares < 2**21, squares.sqrt() * 0.1, 0.6).clamp(max=0.6).float().ravel()
    np.testing.assert_array_equal(metres.numpy(), field.distance((voxels.reshape(-1, 3) + 0.5) * 0.1))
    assert (metres < 0.6).any() and (metres == 0).sum() == 2
    before = views.packed.clone()
    put(octree, np.full((2, 2, 2), 1.0), (1, 4, -3))
    field.update()
    assert not torch.equal(views.packed, before)  # the same memory


def test_views_share_the_maps_memory():
    octree = small()
    put(octree, np.full((8, 8, 8), -1.0), (16, 16, 16))  # a brick of one state
    views, bricks = as_torch(octree), octree.bricks()
    apart = views.block >= 0
    assert apart.any() and not apart.all()
    values = torch.where(apart[:, None], views.log_odds[views.block.clamp(min=0).long()], views.value[:, None])
    by_key = {key: row for key, row in zip(views.keys.tolist(), values.numpy(), strict=True)}
    for key, row in zip(bricks.keys.tolist(), bricks.log_odds, strict=True):
        np.testing.assert_array_equal(by_key[key], row)
    before = views.log_odds.clone()
    octree.load_bricks(bricks.keys[:1], -bricks.log_odds[:1], bricks.last_seen_ns[:1])
    assert not torch.equal(views.log_odds.nan_to_num(), before.nan_to_num())


def test_views_of_a_costmap():
    plan = Costmap(np.zeros((2, 3), np.int8), np.zeros(2), 0.1)
    cells = as_torch(plan)
    plan.cells[1, 2] = 7
    assert cells.shape == (2, 3) and cells[1, 2] == 7
    with pytest.raises(InvalidInput, match="a DistanceField or"):
        as_torch(plan.cells)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_questions_in_tensors_get_tensors(dtype):
    field = DistanceField(small(), 0.6)
    points = torch.rand((500, 3), generator=torch.Generator().manual_seed(0), dtype=dtype) * 1.5 - 0.5
    arrays = points.double().numpy()
    for ask in (field.distance, lambda p: field.distance(p, True), field.nearest, field.gradient):
        got = ask(points)
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), ask(arrays))
    radii = torch.rand(500, generator=torch.Generator().manual_seed(1)) * 0.6
    wanted = field.collides(arrays, radii.double().numpy())
    for given in (radii, radii.double(), radii.numpy()):
        got = field.collides(points, given)
        assert got.dtype == torch.bool and got.numpy().tolist() == wanted.tolist()
    assert field.collides(points, torch.tensor(0.2)).tolist() == field.collides(arrays, 0.2).tolist()
    assert 0 < wanted.sum() < 500
    assert not points.requires_grad and field.distance(points.requires_grad_()).shape == (500,)


def test_bad_tensors():
    field = DistanceField(small(), 0.6)
    for points in (torch.zeros(3), torch.zeros((2, 2)), torch.zeros((2, 3), dtype=torch.int32)):
        with pytest.raises(InvalidInput, match="points"):
            field.distance(points)
    with pytest.raises(InvalidInput, match="NaN"):
        field.distance(torch.full((2, 3), torch.nan))
    with pytest.raises(InvalidInput, match="where the map is"):
        field.distance(torch.zeros((2, 3), device="meta"))
    for radii in (torch.tensor([0.1]), torch.tensor([0.1, -0.1]), torch.tensor([0.1, 0.7])):
        with pytest.raises(InvalidInput, match="radii"):
            field.collides(torch.zeros((2, 3)), radii)


def test_without_torch(monkeypatch):
    field = DistanceField(small(), 0.6)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match="policies"):
        as_torch(field)
    assert field.distance([[0.0, 0.0, 0.0]]).shape == (1,)
