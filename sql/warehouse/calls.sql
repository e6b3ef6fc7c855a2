-- What all tables of the warehouse have: the ids and times of each message, once. Not a table of Segment's own.
--
-- Key: id. State, if kept: one row a message.
CREATE VIEW warehouse.calls AS
SELECT DISTINCT ON (id)
    data ->> 'messageId' AS id,
    data ->> 'type' AS type,
    data ->> 'anonymousId' AS anonymous_id,
    data ->> 'userId' AS user_id,
    try_parse_timestamptz(data ->> 'receivedAt') AS received_at,
    try_parse_timestamptz(data ->> 'sentAt') AS sent_at,
    try_parse_timestamptz(data ->> 'originalTimestamp') AS original_timestamp,
    try_parse_timestamptz(data ->> 'timestamp') AS "timestamp",
    data -> 'context' ->> 'ip' AS context_ip,
    data -> 'context' ->> 'locale' AS context_locale,
    data -> 'context' ->> 'timezone' AS context_timezone,
    data -> 'context' ->> 'userAgent' AS context_user_agent,
    data -> 'context' -> 'library' ->> 'name' AS context_library_name,
    data -> 'context' -> 'library' ->> 'version' AS context_library_version,
    data -> 'context' -> 'page' ->> 'path' AS context_page_path,
    data -> 'context' -> 'page' ->> 'referrer' AS context_page_referrer,
    data -> 'context' -> 'page' ->> 'search' AS context_page_search,
    data -> 'context' -> 'page' ->> 'title' AS context_page_title,
    data -> 'context' -> 'page' ->> 'url' AS context_page_url,
    data -> 'context' -> 'campaign' ->> 'name' AS context_campaign_name,
    data -> 'context' -> 'campaign' ->> 'medium' AS context_campaign_medium,
    data -> 'context' -> 'campaign' ->> 'source' AS context_campaign_source,
    data
FROM segment_events_json
ORDER BY id, received_at;
