-- Every track call, without what is particular to its event.
--
-- Key: id. State: none of its own.
CREATE VIEW warehouse.tracks AS
SELECT
    id, anonymous_id, user_id, received_at, sent_at, original_timestamp, "timestamp",
    snake_case(data ->> 'event') AS event, data ->> 'event' AS event_text,
    context_ip, context_locale, context_timezone, context_user_agent, context_library_name, context_library_version,
    context_page_path, context_page_referrer, context_page_search, context_page_title, context_page_url,
    context_campaign_name, context_campaign_medium, context_campaign_source
FROM warehouse.calls
WHERE type = 'track';
