-- What is known of each user, sent to Segment as traits whenever it changes.
--
-- State: one row a user.
CREATE MATERIALIZED VIEW customers AS
SELECT
    user_id,
    count(*) AS calls,
    count(*) FILTER (WHERE event = 'Order Completed') AS orders,
    max("timestamp") AS last_seen
FROM events
WHERE user_id IS NOT NULL
GROUP BY user_id;

CREATE SINK customers_to_segment
    FROM customers INTO SEGMENT CONNECTION segment (CALL IDENTIFY) KEY (user_id) ENVELOPE UPSERT;
