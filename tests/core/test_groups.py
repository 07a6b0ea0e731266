"""Classes that are put together."""

import numpy as np
import pytest

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.groups import group_labels, grouped, grouped_classes


def test_groups_take_numbers_and_names():
    found = grouped_classes({"real": [0], "fake": ["glide", 2]}, ["photo", "glide", "adm"])
    assert found == {"real": [0], "fake": [1, 2]}
    np.testing.assert_allclose(grouped(np.array([[0.5, 0.3, 0.2]]), found), [[0.5, 0.5]])
    assert group_labels(np.array([2, 0, 1]), found).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("real", "'real' are no groups of classes"),
        ({"a": [0], "b": [1]}, "class 2 is in no group"),
        ({"a": [0, 1], "b": [1, 2]}, "class 1 is in two groups"),
        ({"a": [0, 1, 2]}, "needs two groups or more"),
        ({"a": [0], "b": [1, 2, 3]}, "there is no class 3; the classes are 0, 1, 2"),
    ],
)
def test_impossible_groups(groups, message):
    with pytest.raises(UserError, match=message):
        grouped_classes(groups, ["0", "1", "2"])
