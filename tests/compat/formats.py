"""What a reader finds in the files of one format: one JSON object with counts and sums, equal for every reader.

  formats.py pyarrow|duckdb|polars parquet FOLDER    the Parquet files below a folder
  formats.py duckdb|polars lines FOLDER              its JSON lines: plain, gzip or Zstandard, by their names
  formats.py pyarrow|duckdb|polars values FOLDER     the Parquet files of lines or whole records: their one column `value`
"""

import glob
import json
import sys


def summary(rows, numbers, texts, halves):
    return {"rows": int(rows), "sum": int(numbers), "texts": int(texts), "halves": float(halves)}


def files(folder, kind):
    found = sorted(path for path in glob.glob(f"{folder}/**/*", recursive=True) if f".{kind}" in path)
    assert found, f"no file of {kind} below {folder}"
    return found


def pyarrow_parquet(folder):
    import pyarrow.compute as compute
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(files(folder, "parquet"), format="parquet").to_table()
    texts = table.num_rows - table["text"].null_count
    return summary(table.num_rows, compute.sum(table["number"]).as_py(), texts, compute.sum(table["half"]).as_py())


def of_duckdb(source):
    import duckdb

    query = f"select count(*), sum(number), count(text), sum(half) from {source}"
    return summary(*duckdb.connect().execute(query).fetchall()[0])


def of_polars(frames):
    import polars

    frame = polars.concat(frames, how="diagonal_relaxed")
    return summary(frame.height, frame["number"].sum(), frame["text"].count(), frame["half"].sum())


def polars_parquet(folder):
    import polars

    return of_polars([polars.read_parquet(path, hive_partitioning=False) for path in files(folder, "parquet")])


def polars_lines(folder):
    import io

    import polars
    import pyarrow

    kinds = {".gz": "gzip", ".zst": "zstd"}
    frames = []
    for path in files(folder, "jsonl"):
        kind = next((kind for suffix, kind in kinds.items() if path.endswith(suffix)), None)
        with pyarrow.input_stream(path, compression=kind) as lines:
            frames.append(polars.read_ndjson(io.BytesIO(lines.read())))
    return of_polars(frames)


def of_values(values):
    """Rows, and their bytes: of a text, as UTF-8."""
    values = [value.encode() if isinstance(value, str) else bytes(value) for value in values]
    return {"rows": len(values), "bytes": sum(map(len, values))}


def pyarrow_values(folder):
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(files(folder, "parquet"), format="parquet").to_table(columns=["value"])
    return of_values(table["value"].to_pylist())


def duckdb_values(folder):
    import duckdb

    rows = duckdb.connect().execute(f"select value from read_parquet({files(folder, 'parquet')!r})").fetchall()
    return of_values(value for (value,) in rows)


def polars_values(folder):
    import polars

    frames = [polars.read_parquet(path, columns=["value"], hive_partitioning=False) for path in files(folder, "parquet")]
    return of_values(polars.concat(frames)["value"].to_list())


if __name__ == "__main__":
    reader, kind, folder = sys.argv[1:]
    readers = {
        ("pyarrow", "parquet"): pyarrow_parquet,
        ("duckdb", "parquet"): lambda folder: of_duckdb(
            f"read_parquet({files(folder, 'parquet')!r}, union_by_name=true, hive_partitioning=false)"
        ),
        ("polars", "parquet"): polars_parquet,
        ("pyarrow", "values"): pyarrow_values,
        ("duckdb", "values"): duckdb_values,
        ("polars", "values"): polars_values,
        ("duckdb", "lines"): lambda folder: of_duckdb(f"read_json({files(folder, 'jsonl')!r}, format='newline_delimited')"),
        ("polars", "lines"): polars_lines,
    }
    print(json.dumps(readers[(reader, kind)](folder)))
