-- The fields that most questions need, typed. A plain view: it costs nothing until it is used.
CREATE VIEW events AS
SELECT
    data ->> 'messageId' AS message_id,
    data ->> 'type' AS type,
    data ->> 'event' AS event,
    data ->> 'userId' AS user_id,
    data ->> 'anonymousId' AS anonymous_id,
    data ->> 'timestamp' AS sent_at,
    data -> 'properties' AS properties,
    data -> 'traits' AS traits,
    data -> 'context' AS context
FROM segment_events_json;
