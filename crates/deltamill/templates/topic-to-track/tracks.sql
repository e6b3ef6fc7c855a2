-- A topic of backend events as Track calls: {"user": …, "name": …, "at": …, "details": {…}}.
--
-- Fields are renamed, names become titles, times of any shape are read, empty fields go; who has no user is left out. The
-- message's id is its place in the topic: whatever is read again is the same message to Segment. State: none.
CREATE SOURCE app_events
    FROM KAFKA CONNECTION kafka (TOPIC 'app_events')
    FORMAT JSON INCLUDE PARTITION, OFFSET, TIMESTAMP
    WITH (ON ERROR = QUARANTINE);

CREATE MATERIALIZED VIEW tracks AS
SELECT
    data ->> 'user' AS user_id,
    title_case(data ->> 'name') AS event,
    coalesce(try_parse_timestamptz(data ->> 'at'), "timestamp") AS "timestamp",
    jsonb_strip_nulls(data -> 'details') AS properties,
    'app_events-' || partition::text || '-' || "offset"::text AS message_id
FROM app_events
WHERE data ->> 'user' IS NOT NULL
    -- Raise or lower the share of users that is sent: 100 of 100.
    AND abs(kafka_murmur2(data ->> 'user')::int8) % 100 < 100;

CREATE SINK tracks_to_segment FROM tracks INTO SEGMENT CONNECTION segment (CALL TRACK);
