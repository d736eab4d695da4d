"""Asks a Flight SQL server by ADBC. Arguments: the endpoint. Prints a JSON object."""

import json
import sys

import adbc_driver_flightsql.dbapi as flight_sql

endpoint = sys.argv[1].replace("http://", "grpc://")
with flight_sql.connect(endpoint) as connection, connection.cursor() as cursor:

    def ask(statement, parameters=None):
        cursor.execute(statement, parameters)
        return [list(row) for row in cursor.fetchall()]

    def refusal(statement, parameters):
        try:
            return ask(statement, parameters)
        except flight_sql.Error as error:
            return str(error)

    answers = {
        "plain": ask("select count(*) from flights"),
        "by_mark": ask("select count(*) from flights where carrier = ? and distance > ?", ("UA", 1000)),
        "by_number": ask("select count(*) from flights where distance > $2 and carrier = $1", ("UA", 1000)),
        "injected": ask("select count(*) from flights where carrier = ?", ("UA' or 'a' = 'a",)),
        "null": ask("select count(*) from flights where coalesce(carrier, ?) = 'UA'", (None,)),
        "too_few": refusal("select count(*) from flights where carrier = ? and distance > ?", ("UA",)),
        "tables": sorted(
            table["table_name"]
            for catalog in connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            for schema in catalog["catalog_db_schemas"]
            if schema["db_schema_name"] == "default"
            for table in schema["db_schema_tables"]
        ),
        "columns": connection.adbc_get_table_schema("flights").names[-3:],
    }
print(json.dumps(answers))
