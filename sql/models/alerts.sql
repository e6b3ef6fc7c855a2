-- Which event comes far more or far less often than it did? Each minute against the ten before it.
--
-- Key: event, minute. State, if kept: one counter for each event and minute.
CREATE VIEW alerts AS
SELECT event, minute, calls, round(usual, 1) AS usual
FROM (
    SELECT
        event,
        minute,
        calls,
        avg(calls) OVER earlier AS usual,
        count(*) OVER earlier AS minutes
    FROM (
        SELECT event, date_trunc('minute', "timestamp") AS minute, count(*) AS calls
        FROM deduped
        WHERE type = 'track' AND "timestamp" IS NOT NULL
        GROUP BY event, date_trunc('minute', "timestamp")
    ) AS counts
    WINDOW earlier AS (PARTITION BY event ORDER BY minute ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING)
) AS compared
WHERE minutes = 10 AND (calls > 2 * usual OR calls < usual / 2);
