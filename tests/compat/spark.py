"""What Spark finds in Parquet files and in JSON lines: one JSON object for each FOLDER=KIND, as `formats.py` prints it.

  spark.py FOLDER=parquet|lines|values…
"""

import json
import sys


def summary(spark, folder, kind):
    from pyspark.sql import functions

    reader = spark.read.option("recursiveFileLookup", "true")
    frame = reader.json(folder) if kind == "lines" else reader.parquet(folder)
    if kind == "values":
        size = functions.octet_length(frame["value"])
        rows, size = frame.agg(functions.count("*"), functions.sum(size)).first()
        return {"rows": rows, "bytes": size}
    sums = [functions.count("*"), functions.sum("number"), functions.count("text"), functions.sum("half")]
    rows, numbers, texts, halves = frame.agg(*sums).first()
    return {"rows": rows, "sum": numbers, "texts": texts, "halves": halves}


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    places = [place.rsplit("=", 1) for place in sys.argv[1:]]
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    found = {folder: summary(spark, folder, kind) for folder, kind in places}
    spark.stop()
    print(json.dumps(found))
