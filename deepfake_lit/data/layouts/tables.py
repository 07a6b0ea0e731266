"""The layout of tables with a column of images, such as Parquet files."""

from deepfake_lit.data.layouts.csv_files import NUMBER, to_number
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.sources.table import Table
from deepfake_lit.data.split import Found, Split
from deepfake_lit.settings.schema import DataConfig


def read_tables(source: Table, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems) -> Found:
    """Return the rows of the tables by split; rows of a table without a split are training images.

    Raises:
        DataError: the tables have no column of labels.
    """
    rows = source.rows
    labels = {row.label for row in rows} - {None}
    if not labels:
        raise DataError(f"{source.name}={cfg.root}: its tables have no column of labels, such as label", {"layout"})
    names = source.class_names
    if names is None and not all(NUMBER.fullmatch(label) for label in labels):
        names = sorted(labels)
    if names and cfg.class_names and sorted(cfg.class_names) == sorted(names):
        names = cfg.class_names  # keep the given order
    elif names and cfg.class_names:
        problems.add(
            "class_count", f"data.class_names are {', '.join(cfg.class_names)}, but labels are {', '.join(names)}"
        )
    numbers = {name: i for i, name in enumerate(names)} if names else None
    grouped = any(row.group for row in rows)
    splits: dict[str, Split] = {}
    for row in rows:
        split = splits.setdefault(row.split or "train", Split(row.split or "train"))
        number = to_number(row.label or "", numbers)
        if number is None:
            problems.add("bad_label", f"{row.file} has label {row.label!r}")
            continue
        split.ids.append(row.file)
        split.files.append(row.file)
        split.labels.append(number)
        split.declared.add(number)
        if grouped:
            split.groups.append(row.group)
    return Found({name: split for name, split in splits.items() if name in wanted}, names or cfg.class_names)
