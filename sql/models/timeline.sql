-- What does support need to see of one customer? Every call with a line of text, newest last, by person rather than by
-- id: what was done before signing in is there, too.
--
-- Key: message_id. State, if kept: one row a message, and the identity graph.
CREATE VIEW timeline AS
SELECT
    coalesce(identity.person, 'user:' || calls.user_id, 'anonymous:' || calls.anonymous_id) AS person,
    calls."timestamp",
    calls.message_id,
    CASE calls.type
        WHEN 'track' THEN calls.event
        WHEN 'page' THEN 'saw ' || coalesce(calls.data -> 'properties' ->> 'path', calls.data ->> 'name', 'a page')
        WHEN 'screen' THEN 'saw ' || coalesce(calls.data ->> 'name', 'a screen')
        WHEN 'identify' THEN 'became ' || coalesce(calls.user_id, 'known')
        WHEN 'group' THEN 'joined ' || coalesce(calls.group_id, 'a group')
        WHEN 'alias' THEN 'was ' || coalesce(calls.previous_id, 'someone') || ' before'
        ELSE calls.type
    END AS what
FROM deduped AS calls
LEFT JOIN identity
    ON identity.id = coalesce('user:' || calls.user_id, 'anonymous:' || calls.anonymous_id);
