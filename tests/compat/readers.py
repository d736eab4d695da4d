"""What a reader finds in the flights: one JSON object with counts and sums, equal for every reader.

  readers.py source FILE          the events themselves (JSON lines, Zstandard), counted without any engine
  readers.py duckdb FOLDER        the Parquet files below a table's data folder
  readers.py duckdb-hive FOLDER   the same, with the Hive folders made columns
  readers.py pyarrow FOLDER       the same files as a PyArrow dataset
  readers.py polars FOLDER        the same files as a lazy frame of Polars
  readers.py pyiceberg METADATA   the table from its Iceberg metadata file
  readers.py polars-iceberg METADATA   the same, as a lazy frame of Polars
"""

import json
import sys
from collections import Counter


def summary(rows, distance, dep_time, years, carriers):
    return {
        "rows": int(rows),
        "sum_distance": int(distance),
        "count_dep_time": int(dep_time),
        "years": sorted(int(year) for year in years),
        "carriers": {str(carrier): int(count) for carrier, count in sorted(carriers)},
    }


def source(path):
    import pyarrow

    rows = distance = dep_time = 0
    years, carriers = set(), Counter()
    with pyarrow.input_stream(path, compression="zstd") as lines:
        for line in lines.read().splitlines():
            event = json.loads(line)
            rows += 1
            distance += event["distance"]
            dep_time += event.get("dep_time") is not None
            years.add(event["year"])
            carriers[event["carrier"]] += 1
    return summary(rows, distance, dep_time, years, carriers.items())


def duckdb(folder, hive=False):
    import duckdb

    connection = duckdb.connect()
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning={str(hive).lower()}, union_by_name=true)"
    totals = f"select count(*), sum(distance), count(dep_time) from {files}"
    years = connection.execute(f"select distinct year from {files}").fetchall()
    carriers = connection.execute(f"select carrier, count(*) from {files} group by carrier").fetchall()
    # With Hive folders as columns, `year` is the folder's: when the event arrived.
    years = [2013] if hive else [year for (year,) in years]
    return summary(*connection.execute(totals).fetchall()[0], years, carriers)


def of_arrow(table):
    import pyarrow.compute as compute

    carriers = compute.value_counts(table["carrier"]).to_pylist()
    return summary(
        table.num_rows,
        compute.sum(table["distance"]).as_py(),
        table.num_rows - table["dep_time"].null_count,
        compute.unique(table["year"]).to_pylist(),
        [(carrier["values"], carrier["counts"]) for carrier in carriers],
    )


def pyarrow(folder):
    import pyarrow.dataset

    return of_arrow(pyarrow.dataset.dataset(folder, format="parquet").to_table())


def pyiceberg(metadata):
    from pyiceberg.table import StaticTable

    return of_arrow(StaticTable.from_metadata(metadata).scan().to_arrow())


def of_polars(frame):
    import polars

    totals = frame.select(polars.len(), polars.col("distance").sum(), polars.col("dep_time").count()).collect().row(0)
    years = frame.select(polars.col("year").unique()).collect()["year"].to_list()
    carriers = frame.group_by("carrier").agg(polars.len()).collect().rows()
    return summary(*totals, years, carriers)


def polars(folder):
    import polars

    return of_polars(polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=False))


def polars_iceberg(metadata):
    import polars

    return of_polars(polars.scan_iceberg(metadata))


if __name__ == "__main__":
    reader, place = sys.argv[1:]
    readers = {
        "source": source,
        "duckdb": duckdb,
        "duckdb-hive": lambda folder: duckdb(folder, hive=True),
        "pyarrow": pyarrow,
        "polars": polars,
        "pyiceberg": pyiceberg,
        "polars-iceberg": polars_iceberg,
    }
    print(json.dumps(readers[reader](place)))
