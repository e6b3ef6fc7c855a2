-- What do Segment's libraries send? Point their host at http://127.0.0.1:6876; any write key will do.
--
-- State: each message once, by its id, since libraries send again what they are not sure of.
CREATE SOURCE received FROM SEGMENT;

CREATE MATERIALIZED VIEW events AS
SELECT DISTINCT ON (message_id)
    message_id, type, user_id, anonymous_id, event, "timestamp", received_at, body
FROM received
-- What this project sends comes back while this program stands in for Segment.
WHERE message_id NOT LIKE 'deltamill-%'
ORDER BY message_id, received_at;
