"""`sand bench render`: the page of measurements, from the records and a template in one folder."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from sand_dagster.bench.links import LINKS
from sand_dagster.bench.record import Record, read

TEMPLATE = "measurements.md.jinja"


def render_page(folder: Path) -> str:
    """The page: `measurements.md.jinja` of `folder`, filled in with the records of its JSON files.

    The template sees each record by the name of its file, `-` as `_`.

    Raises:
        ValueError: a file is not a record, or the template uses a figure that no record has.
    """
    records = {name.replace("-", "_"): record for name, record in read(folder).items()}
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "share": share, "where": where}
    environment.globals["link_names"] = LINKS
    try:
        return environment.get_template(TEMPLATE).render(records)
    except TemplateError as error:
        raise ValueError(f"{folder / TEMPLATE} cannot be filled in: {error}") from error


def number(value: float, digits: int = 0) -> str:
    """With separators of thousands and `digits` after the point."""
    return f"{value:,.{digits}f}"


def share(value: float, digits: int = 1) -> str:
    """A share in [0, 1], in per cent."""
    return f"{value:.{digits}%}".replace("%", " %")


def where(record: Record) -> str:
    """The day and the machine of a record, as one sentence."""
    machine = record.machine
    cores = f"{machine['cores']} cores" if "cores" in machine else ""
    processor = f"({machine['processor']})" if "processor" in machine else ""
    others = [f"{key}: {value}" for key, value in machine.items() if key not in ("cores", "processor")]
    versions = [f"{name} {found}" for name, found in record.versions.items()]
    at = [f"commit `{record.commit}`"] if record.commit else []
    parts = [str(record.date), " ".join(filter(None, [cores, processor])), *others, *at, *versions]
    copied = " Figures copied by hand from the output." if record.source == "by hand" else ""
    return f"{', '.join(filter(None, parts))}.{copied}"
