"""Settings against the classes and the images' size."""

import pytest

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.checks import check_against_data
from deepfake_lit.settings.compose import compose


def check(*overrides: str, size=(24, 32), classes=3) -> None:
    check_against_data(compose(["data.root=x", *overrides]), classes, size)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["augment.window=100"], "must fit into the images, 32 x 24"),
        (["augment.window=24", "augment.crop=24"], "must be less than the images' side, 24"),
        (["augment.crop=24"], "must be less than the images' side, 24"),
        (["augment.rot90=0.5"], "turns square images; these are 32 x 24"),
    ],
)
def test_augmentation_must_fit_the_images(setting, message):
    with pytest.raises(UserError, match=message):
        check(*setting)


def test_augmentation_that_fits():
    check("augment.window=24", "augment.rot90=0.5")
    check("augment.crop=24", "data.image_size=40")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("laundering_jpeg=[0,95]", r"augment.laundering_jpeg must be \[low, high\] between 1 and 100, or null"),
        ("laundering_blur=[2,1]", "augment.laundering_blur must be"),
        ("laundering_blur=[2]", "augment.laundering_blur must be"),
        ("laundering_most=0", "augment.laundering_most must be 1 or more"),
        ("laundering_p=1.5", "augment.laundering_p is a probability"),
    ],
)
def test_impossible_laundering(setting, message):
    with pytest.raises(UserError, match=message):
        check(f"augment.{setting}")


def test_distorted_images_are_not_on_the_device():
    check("augment.laundering_blur=null", "data.on_device=true")
    with pytest.raises(UserError, match="keeps the images as they are"):
        check("augment.laundering_blur=[1,2]", "data.on_device=true")


@pytest.mark.parametrize("weights", ["[1,2]", "[1,2,-1]", "[0,0,0]", "[a,1,1]", "heavy", "{focus:{3:1}}", "{x:1}"])
def test_impossible_class_weights(weights):
    with pytest.raises(UserError, match="class_weights"):
        check(f"loss.class_weights={weights}")


@pytest.mark.parametrize("weights", ["null", "balanced", "[1,2,3.5]", "{focus:{2:2.7}}"])
def test_class_weights_that_fit(weights):
    check(f"loss.class_weights={weights}")


@pytest.mark.parametrize("weights", ["[1,2]", "[1,-1,1]", "[0,0,0]"])
def test_impossible_class_sampling(weights):
    with pytest.raises(UserError, match="class_sampling"):
        check(f"data.class_sampling={weights}")
