-- Each message once, the first arrival of it, however often a sender or Kafka repeated it.
--
-- Key: message_id. A plain view; kept by an index it holds one row a message.
CREATE VIEW deduped AS
SELECT DISTINCT ON (message_id)
    data ->> 'messageId' AS message_id,
    data ->> 'type' AS type,
    data ->> 'event' AS event,
    data ->> 'userId' AS user_id,
    data ->> 'anonymousId' AS anonymous_id,
    data ->> 'groupId' AS group_id,
    data ->> 'previousId' AS previous_id,
    try_parse_timestamptz(data ->> 'timestamp') AS "timestamp",
    try_parse_timestamptz(data ->> 'receivedAt') AS received_at,
    data
FROM segment_events_json
ORDER BY message_id, received_at;
