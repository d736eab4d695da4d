"""What PyIceberg plans of a table that is partitioned: for each filter how many files, and what rows they give.

  partitions.py METADATA FILTER…    the table from its Iceberg metadata file; `true` for all of it
"""

import json
import sys

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import StaticTable


def planned(table, row_filter):
    scan = table.scan(row_filter=AlwaysTrue() if row_filter == "true" else row_filter)
    files = list(scan.plan_files())
    rows = scan.to_arrow()
    return {"files": len(files), "rows_planned": sum(task.file.record_count for task in files), "rows": rows.num_rows}


if __name__ == "__main__":
    table = StaticTable.from_metadata(sys.argv[1])
    print(json.dumps({text: planned(table, text) for text in sys.argv[2:]}))
