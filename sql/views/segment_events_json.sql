-- Every event as jsonb: bytes are parsed once, all other views read this.
--
-- State: none; each message becomes one stored row.
CREATE MATERIALIZED VIEW segment_events_json AS
SELECT
    CAST(data AS jsonb) AS data
FROM (
    SELECT convert_from(data, 'utf8') AS data
    FROM segment
);
