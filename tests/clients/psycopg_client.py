"""What psycopg 3 does with a server: usage: psycopg_client.py HOST:PORT"""
import sys

import psycopg

host, port = sys.argv[1].rsplit(":", 1)
with psycopg.connect(host=host, port=port, user="materialize", dbname="materialize", autocommit=True) as connection:
    connection.execute("CREATE TABLE people (id int8, name text, score numeric, tags jsonb)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO people VALUES (%s, %s, %s, %s::jsonb)",
            [(i, f"name {i}", i / 4, '{"n": %d}' % i) for i in range(20)],
        )
    # Prepared reads, text and binary.
    for binary in (False, True):
        rows = connection.execute(
            "SELECT id, name, tags -> 'n' FROM people WHERE id >= %s ORDER BY id", (17,), prepare=True, binary=binary
        ).fetchall()
        assert rows == [(17, "name 17", 17), (18, "name 18", 18), (19, "name 19", 19)], rows
    # A server-side cursor.
    with connection.transaction():
        with connection.cursor(name="c") as cursor:
            cursor.execute("SELECT id FROM people ORDER BY id")
            assert [r[0] for r in cursor.fetchmany(5)] == [0, 1, 2, 3, 4]
            assert len(cursor.fetchall()) == 15
    # COPY both ways.
    with connection.cursor() as cursor:
        with cursor.copy("COPY people (id, name) FROM STDIN") as copy:
            copy.write_row((100, "copied"))
        with cursor.copy("COPY (SELECT id, name FROM people WHERE id = 100) TO STDOUT") as copy:
            assert list(copy.rows()) == [("100", "copied")]
    # An error leaves the session usable.
    try:
        connection.execute("SELECT 1 / 0")
        raise SystemExit("no error")
    except psycopg.errors.DivisionByZero:
        pass
    assert connection.execute("SELECT 1").fetchone() == (1,)
print("psycopg", psycopg.__version__, "ok")
