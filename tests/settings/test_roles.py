"""What part settings have in a run is said on their fields; lists of names follow from it."""

import json

from deepfake_lit.settings.compose import compose, from_dict
from deepfake_lit.settings.identity import ADDED_LATER, NOT_IDENTITY, READS, fingerprint, of_role, to_dict

# What was no part of the fingerprint when runs were published; one more or less would rename them.
PUBLISHED = {
    *("name", "output_dir", "baselines", "retry_failed", "init_from", "model.members"),
    *("data.root", "data.layout", "data.tolerate", "data.cache_dir", "data.workers", "data.decode_workers"),
    *("data.on_device", "trainer.accelerator", "trainer.checkpoint_minutes", "trainer.log_every_n_steps"),
    *("trainer.progress_bar", "trainer.threads"),
    *(
        "data.fit",
        "data.cache_gib",
        "data.portion",
        "data.groups",
    ),  # of later: no published run has another value than the default
}
LATER = {"model.pretrained_file"}  # no published run has it; a digest stands for it


def test_what_is_no_part_of_the_fingerprint():
    assert NOT_IDENTITY == PUBLISHED | LATER
    assert of_role("place") == {"data.root", "data.cache_dir", "output_dir"}
    assert of_role("weights") == {"init_from", "model.members"} | LATER
    assert {"data.layout", "data.class_names", "data.tolerate"} <= set(READS)


def test_a_setting_that_came_later_is_left_out_while_it_has_its_default():
    """Runs of before have null there, or nothing at all."""
    cfg = compose(["model=whitening_cnn", "data.root=x"])
    assert ADDED_LATER["model.padding"] is True
    assert cfg.model.padding is True
    tree = json.loads(json.dumps(to_dict(cfg)))
    tree["model"]["padding"] = None
    del tree["augment"]["crop_shared"]
    old = from_dict(tree)
    assert (old.model.padding, old.augment.crop_shared) == (True, False)
    assert fingerprint(old, "x") == fingerprint(cfg, "x")
    assert fingerprint(compose(["model=whitening_cnn", "model.padding=false", "data.root=x"]), "x") != fingerprint(
        cfg, "x"
    )
