import numpy as np

from autoseg.grids.components import component_voxels, components


def test_voxels_that_share_a_corner_are_one_component():
    mask_DHW = np.zeros((3, 3, 3), dtype=bool)
    mask_DHW[0, 0, 0] = mask_DHW[1, 1, 1] = True
    assert components(mask_DHW)[1] == 1


def test_each_component_has_its_size():
    mask_DHW = np.zeros((1, 3, 9), dtype=bool)
    mask_DHW[0, :, :2] = mask_DHW[0, 1, 4] = mask_DHW[0, 0:2, 7] = True
    assert sorted(component_voxels(mask_DHW).tolist()) == [1, 2, 6]


def test_an_empty_mask_has_no_component():
    assert component_voxels(np.zeros((2, 2, 2), dtype=bool)).tolist() == []
