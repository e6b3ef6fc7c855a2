// What node-postgres does with a server. Usage: node pg_client.js HOST:PORT
const assert = require("assert");
const { Client } = require("pg");
const Cursor = require("pg-cursor");

async function main() {
  const [host, port] = process.argv[2].split(":");
  const client = new Client({ host, port: Number(port), user: "materialize", database: "materialize" });
  await client.connect();
  await client.query("CREATE TABLE people (id int8, name text, tags jsonb)");
  for (let i = 0; i < 10; i++) {
    await client.query("INSERT INTO people VALUES ($1, $2, $3)", [i, `name ${i}`, { n: i }]);
  }
  const named = { name: "by-id", text: "SELECT id, name, tags FROM people WHERE id = $1", values: [7] };
  for (let i = 0; i < 2; i++) {
    const { rows } = await client.query(named);
    assert.deepStrictEqual(rows, [{ id: "7", name: "name 7", tags: { n: 7 } }]);
  }
  const cursor = client.query(new Cursor("SELECT id FROM people ORDER BY id"));
  assert.strictEqual((await cursor.read(4)).length, 4);
  assert.strictEqual((await cursor.read(100)).length, 6);
  await cursor.close();
  await assert.rejects(client.query("SELECT 1 / 0"), { code: "22012" });
  const { rows } = await client.query("SELECT count(*) AS n FROM people");
  assert.strictEqual(rows[0].n, "10");
  await client.end();
  console.log("node-postgres ok");
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
