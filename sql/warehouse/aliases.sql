-- Every alias call: who had which id before.
--
-- Key: id. State: none of its own.
CREATE VIEW warehouse.aliases AS
SELECT
    id, anonymous_id, user_id, received_at, sent_at, original_timestamp, "timestamp",
    data ->> 'previousId' AS previous_id,
    context_ip, context_locale, context_timezone, context_user_agent, context_library_name, context_library_version,
    context_page_path, context_page_referrer, context_page_search, context_page_title, context_page_url,
    context_campaign_name, context_campaign_medium, context_campaign_source
FROM warehouse.calls
WHERE type = 'alias';
