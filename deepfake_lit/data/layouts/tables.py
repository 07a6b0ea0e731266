"""The layout of tables with a column of images, such as Parquet files."""

from deepfake_lit.data.labels import class_numbers, to_number
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.sources.table import Table
from deepfake_lit.data.split import Found, Split, in_given_order
from deepfake_lit.settings.schema import DataConfig

UNLABELLED = {None, "-1"}  # as test splits have it whose labels are not given away


def read_tables(source: Table, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems) -> Found:
    """Return the rows of the tables by split; rows of a table without a split are training images.

    Raises:
        DataError: the tables have no column of labels.
    """
    rows = source.rows
    labels = {row.label for row in rows} - UNLABELLED
    if not labels:
        raise DataError(f"{source.name}={cfg.root}: its tables have no column of labels, such as label", {"layout"})
    if names := source.class_names:
        names = in_given_order(names, cfg.class_names, problems, "labels")
        numbers = {name: i for i, name in enumerate(names)}
    else:
        names, numbers = class_numbers({"": labels}, cfg.class_names, problems)
    if len(source.label_columns) > 1:
        first, *others = source.label_columns
        problems.note(f"the labels are the column {first}, not {' or '.join(others)}")
    grouped = any(row.group for row in rows)
    with_labels = {row.split or "train" for row in rows if row.label not in UNLABELLED}
    splits: dict[str, Split] = {}
    for row in rows:
        name = row.split or "train"
        split = splits.setdefault(name, Split(name, labels=[] if name in with_labels else None))
        number = to_number(row.label or "", numbers)
        if number is None and split.labels is not None:
            problems.add("bad_label", f"{row.file} has label {row.label!r}")
            continue
        split.ids.append(row.file)
        split.files.append(row.file)
        if split.labels is not None:
            split.labels.append(number)
            split.declared.add(number)
        if grouped:
            split.groups.append(row.group)
    return Found({name: split for name, split in splits.items() if name in wanted}, names)
