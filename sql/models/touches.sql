-- The visits that a campaign brought: one row for each change of campaign of a visitor.
--
-- Key: message_id. State, if kept: the calls of each visitor that name a campaign.
CREATE VIEW touches AS
SELECT message_id, anonymous_id, "timestamp", medium, campaign
FROM (
    SELECT
        message_id,
        anonymous_id,
        "timestamp",
        data -> 'context' -> 'campaign' ->> 'medium' AS medium,
        data -> 'context' -> 'campaign' ->> 'name' AS campaign,
        lag(data -> 'context' -> 'campaign' ->> 'name')
            OVER (PARTITION BY anonymous_id ORDER BY "timestamp", message_id) AS before
    FROM deduped
    WHERE anonymous_id IS NOT NULL AND data -> 'context' -> 'campaign' ->> 'name' IS NOT NULL
) AS calls
WHERE campaign IS DISTINCT FROM before;
