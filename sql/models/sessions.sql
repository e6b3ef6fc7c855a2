-- What did a visitor do in one go? A session ends with half an hour without a call.
--
-- Key: anonymous_id, session. State, if kept: the calls of each visitor; a late call moves the sessions of its visitor only.
CREATE VIEW sessions AS
SELECT
    anonymous_id,
    session,
    min("timestamp") AS started_at,
    max("timestamp") AS ended_at,
    max("timestamp") - min("timestamp") AS duration,
    count(*) AS calls,
    count(*) FILTER (WHERE type = 'page') AS pages,
    count(*) FILTER (WHERE event = 'Order Completed') AS orders,
    max(user_id) AS user_id
FROM (
    SELECT
        *,
        sum(begins) OVER (
            PARTITION BY anonymous_id ORDER BY "timestamp", message_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS session
    FROM (
        SELECT
            *,
            CASE
                WHEN "timestamp" - lag("timestamp") OVER (PARTITION BY anonymous_id ORDER BY "timestamp", message_id)
                    <= INTERVAL '30 minutes' THEN 0
                ELSE 1
            END AS begins
        FROM deduped
        WHERE anonymous_id IS NOT NULL AND "timestamp" IS NOT NULL
    ) AS gaps
) AS numbered
GROUP BY anonymous_id, session;
