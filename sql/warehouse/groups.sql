-- Every group call with the account's traits.
--
-- Key: id. State: none of its own.
CREATE VIEW warehouse.groups AS
SELECT
    id, anonymous_id, user_id, received_at, sent_at, original_timestamp, "timestamp",
    data ->> 'groupId' AS group_id, data -> 'traits' ->> 'name' AS name, data -> 'traits' ->> 'plan' AS plan,
    data -> 'traits' ->> 'industry' AS industry, try_cast(data -> 'traits' ->> 'employees' AS int8) AS employees,
    context_ip, context_locale, context_timezone, context_user_agent, context_library_name, context_library_version,
    context_page_path, context_page_referrer, context_page_search, context_page_title, context_page_url,
    context_campaign_name, context_campaign_medium, context_campaign_source
FROM warehouse.calls
WHERE type = 'group';
