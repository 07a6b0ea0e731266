"""The card of a network: on what it was trained, how accurate it is on clean and distorted images, and its limits.

It is plain data, stored in the checkpoint beside the configuration, and `markdown` tells it to people.
"""

from pathlib import Path
from typing import Any

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json
from deepfake_lit.prediction.checkpoint import BEST, ENTRY, network_weights
from deepfake_lit.prediction.published import names

KEPT = ("name", "kind", "strength", "unit")  # of a condition
SUMMARY = ("mean", "interval", "worst", "worst_condition")


def card_of(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the card that a checkpoint holds, or what is known of it without one.

    Args:
        path: of the checkpoint's file; a run's `result.json` beside it has the accuracy.

    Returns:
        `classes`, `image_size` (height, width), `fit`, `parameters`, `data_hash`; where they are known `images` (of the
        training), `accuracy` (accuracy, interval, images, selected), `robustness` (see `with_robustness`),
        `calibration` (coverage, rejected, method, score, fitted_on), `about` and `licence`.
    """
    entry = checkpoint[ENTRY]
    if "card" in entry:
        return entry["card"] | _calibration(entry)
    card = {
        "classes": list(entry["class_names"]),
        "image_size": list(entry["image_size"]),
        "fit": entry.get("fit", "resize"),
        "parameters": sum(tensor.numel() for tensor in network_weights(checkpoint).values()),
        "data_hash": entry["data_hash"],
    } | _calibration(entry)
    try:
        result = read_json(path.parent / "result.json")
        completed = {"last": len(result["history"]), "best": result["best_epoch"] + 1}
        epoch = next(name for name, epochs in completed.items() if epochs == checkpoint.get("epoch"))
        card["images"] = result["data"]["images"]["train"]
        card["accuracy"] = {key: result[epoch][key] for key in ("accuracy", "interval", "images")}
        card["accuracy"]["selected"] = epoch == "best"
    except (FileNotFoundError, ValueError, KeyError, TypeError, StopIteration):
        return card  # a file on its own, or of another epoch
    return card


def _calibration(entry: dict[str, Any]) -> dict[str, Any]:
    found = entry.get("calibration")
    keys = ("coverage", "rejected", "method", "score", "fitted_on")
    return {"calibration": {key: found[key] for key in keys}} if found else {}


def with_robustness(card: dict[str, Any], path: Path, checkpoint: str) -> dict[str, Any]:
    """Return the card with the figures that `deepfake-lit robustness` wrote for a checkpoint.

    Args:
        path: the command's `robustness.json`.
        checkpoint: as it is named here. The file is about this one alone, or names it.

    Returns:
        The card with `robustness`: the keys of `SUMMARY`, `images`, and `conditions`, the clean one first, each with
        the keys of `KEPT`, `accuracy`, `interval` and `confidence`.

    Raises:
        UserError: the file cannot be read, or is about other checkpoints or classes.
    """
    try:
        found = read_json(path)
        number = _which(found["checkpoints"], checkpoint, path)
        rows = zip(found["conditions"], found["results"][number], strict=True)
        conditions = [
            {key: condition[key] for key in KEPT}
            | {key: figures[key] for key in ("accuracy", "interval", "confidence")}
            for condition, figures in rows
        ]
        summary = {key: found["summaries"][number][key] for key in SUMMARY}
        images, classes = found["data"]["images"], found["class_names"]
    except FileNotFoundError:
        raise UserError(f"robustness={path}: there is no such file; deepfake-lit robustness writes it") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"robustness={path} is not a robustness.json of deepfake-lit robustness") from None
    if classes != card["classes"]:
        raise UserError(f"robustness={path} is about the classes {', '.join(classes)}, not those of {checkpoint}")
    return card | {"robustness": summary | {"images": images, "conditions": conditions}}


def _which(checkpoints: list[str], wanted: str, path: Path) -> int:
    places = [Path(each).expanduser().absolute() for each in checkpoints]
    own = Path(wanted).expanduser().absolute()
    for place in (own, own / BEST):
        if place in places:
            return places.index(place)
    if len(checkpoints) == 1:
        return 0
    raise UserError(f"robustness={path} is about {', '.join(checkpoints)}, not about {wanted}")


def limits(card: dict[str, Any]) -> list[str]:
    """Return what an answer does not say, a sentence each."""
    height, width = card["image_size"]
    calibration = card.get("calibration")
    found = [
        f"The network knows {len(card['classes'])} classes and nothing else. For an image of any other generator or "
        "camera, it may still name one of these classes"
        + (", although it can say none of these." if calibration else ". It cannot say none of these."),
        f"It was trained on images of {width} x {height} pixels from one source. "
        + (
            "Images of another size are resized to this size. That removes part of the traces that it looks for."
            if card["fit"] == "resize"
            else "Of a larger image it sees only windows of this size."
        )
        + " Its accuracy on images from other sources is not known.",
        "An answer is a hint and not a proof. Somebody who wants to deceive the network can do so.",
    ]
    if calibration:
        found.append(
            f"The probabilities and prediction sets are valid only for images like the "
            f"{calibration['fitted_on']['images']:,} images of the calibration. Of such images, it calls about "
            f"{100 * calibration['rejected']:.0f} % none of these."
        )
    else:
        found.append("Its probabilities are not calibrated: they do not say how often it is right.")
    if "robustness" not in card:
        found.append("Its accuracy on compressed, resized or noisy images was not measured.")
    return found


def accuracy_in_words(card: dict[str, Any]) -> str:
    """Return the accuracy on clean images and under distortion, each with its interval; "" if neither is known."""
    said = []
    if own := card.get("accuracy"):
        chosen = "; the epoch was selected on these images" if own["selected"] else ""
        said.append(f"{_percent(own)} on {own['images']:,} clean images{chosen}")
    if found := card.get("robustness"):
        if not own:
            said.append(f"{_percent(found['conditions'][0])} on {found['images']:,} clean images")
        said.append(
            f"{_percent({'accuracy': found['mean'], 'interval': found['interval']})} in the mean of "
            f"{len(found['conditions']) - 1} distortions, {100 * found['worst']:.1f} % under the worst "
            f"({found['worst_condition']})"
        )
    return ". ".join(said)


def _percent(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{100 * figures['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def markdown(card: dict[str, Any], name: str) -> str:
    """Return the card as Markdown, for a file beside the weights."""
    height, width = card["image_size"]
    trained = f"Trained on {card['images']:,} images" if "images" in card else "Trained on images"
    lines = [f"# {name}", "", card.get("about") or "A network that says which generator made an image.", ""]
    lines += [
        f"- {trained} of {width} x {height} pixels (hash of the data: `{card['data_hash']}`).",
        f"- Classes: {', '.join(card['classes'])}.",
        f"- {card['parameters']:,} weights.",
    ]
    if said := accuracy_in_words(card):
        lines.append(f"- Accuracy, with 95 % intervals over images: {said}.")
    lines += [f"- Licence: {card['licence']}."] if card.get("licence") else []
    where = name if name in names() else "PATH"
    lines += ["", "```", f"deepfake-lit predict {where} images=FOLDER", "```", "", "## Limits", ""]
    lines += [f"- {limit}" for limit in limits(card)]
    if found := card.get("robustness"):
        lines += ["", f"## Accuracy by distortion, {found['images']:,} images", ""]
        lines += ["| images after | accuracy | 95 % interval |", "|---|---|---|"]
        for row in found["conditions"]:
            low, high = row["interval"]
            unit = f", {row['unit']}" if row["unit"] else ""
            lines.append(f"| {row['name']}{unit} | {row['accuracy']:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines) + "\n"
