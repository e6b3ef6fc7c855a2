-- Which ids are one person? Everything that a call names together (anonymous and user id, previous id of an alias)
-- belongs together, over as many steps as it takes; `person` is the least of a person's ids.
--
-- Key: id. State, if kept: two rows a link, and one an id. A call that joins two persons renames the smaller part.
CREATE VIEW identity AS
WITH MUTUALLY RECURSIVE
    link (a text, b text) AS (
        SELECT DISTINCT 'user:' || user_id, 'anonymous:' || anonymous_id
        FROM deduped
        WHERE user_id IS NOT NULL AND anonymous_id IS NOT NULL AND type IN ('identify', 'alias')
        UNION
        SELECT DISTINCT 'user:' || user_id, 'anonymous:' || previous_id
        FROM deduped
        WHERE type = 'alias' AND user_id IS NOT NULL AND previous_id IS NOT NULL
    ),
    edge (a text, b text) AS (
        SELECT a, b FROM link
        UNION
        SELECT b, a FROM link
    ),
    person (id text, person text) AS (
        SELECT id, min(person)
        FROM (
            SELECT a AS id, a AS person FROM edge
            UNION
            SELECT edge.b AS id, person.person FROM edge JOIN person ON person.id = edge.a
        ) AS reached
        GROUP BY id
    )
SELECT id, person FROM person;
