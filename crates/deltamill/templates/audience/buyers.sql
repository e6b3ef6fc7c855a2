-- Segment's events → who is in the audience "buyers" → a topic, and back to Segment as a trait and an event.
--
-- Who enters is a message with their id as its key, who leaves a tombstone; Segment is told "Audience Entered" and
-- "Audience Exited". State: each message once, and a count a user.
CREATE SOURCE received FROM SEGMENT;

CREATE VIEW orders AS
SELECT DISTINCT ON (message_id) message_id, user_id, event
FROM received
WHERE user_id IS NOT NULL AND event IN ('Order Completed', 'Order Refunded')
ORDER BY message_id, received_at;

CREATE MATERIALIZED VIEW buyers AS
SELECT user_id, 'buyers' AS audience
FROM orders
GROUP BY user_id
HAVING count(*) FILTER (WHERE event = 'Order Completed') > count(*) FILTER (WHERE event = 'Order Refunded');

CREATE SINK buyers_to_topic
    FROM buyers INTO KAFKA CONNECTION kafka (TOPIC 'buyers') KEY (user_id) FORMAT JSON ENVELOPE UPSERT;

CREATE SINK buyers_to_segment
    FROM buyers INTO SEGMENT CONNECTION segment (CALL AUDIENCE, AUDIENCE KEY 'buyers') KEY (user_id);
