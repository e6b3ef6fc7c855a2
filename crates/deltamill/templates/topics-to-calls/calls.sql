-- Topics of several services, each with names of its own, as calls of all kinds through one sink: accounts → Group,
-- profiles → Identify, clicks → Track.
--
-- State: none; the message's id is its place in its topic.
CREATE SOURCE accounts
    FROM KAFKA CONNECTION kafka (TOPIC 'accounts')
    FORMAT JSON INCLUDE PARTITION, OFFSET, TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE SOURCE profiles
    FROM KAFKA CONNECTION kafka (TOPIC 'profiles')
    FORMAT JSON INCLUDE PARTITION, OFFSET, TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE SOURCE clicks
    FROM KAFKA CONNECTION kafka (TOPIC 'clicks')
    FORMAT JSON INCLUDE PARTITION, OFFSET, TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE MATERIALIZED VIEW calls AS
SELECT
    'group' AS type,
    data ->> 'owner' AS user_id,
    data ->> 'account' AS group_id,
    NULL AS event,
    jsonb_build_object('name', data ->> 'name') AS traits,
    NULL::jsonb AS properties,
    "timestamp",
    'accounts-' || partition::text || '-' || "offset"::text AS message_id
FROM accounts
UNION ALL
SELECT
    'identify',
    data ->> 'userId',
    NULL,
    NULL,
    jsonb_strip_nulls(jsonb_build_object('email', data ->> 'emailAddress', 'firstName', data ->> 'givenName')),
    NULL,
    "timestamp",
    'profiles-' || partition::text || '-' || "offset"::text
FROM profiles
UNION ALL
SELECT
    'track',
    data ->> 'uid',
    NULL,
    'Link Clicked',
    NULL,
    jsonb_build_object('url', data ->> 'href'),
    coalesce(try_parse_timestamptz(data ->> 'ts'), "timestamp"),
    'clicks-' || partition::text || '-' || "offset"::text
FROM clicks;

CREATE SINK calls_to_segment FROM calls INTO SEGMENT CONNECTION segment (CALL FROM COLUMN type);
