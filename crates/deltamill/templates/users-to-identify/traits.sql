-- A topic of users, keyed by their id, as Identify calls: the current traits of each, whenever they change.
--
-- State: the newest record of each key.
CREATE SOURCE users
    FROM KAFKA CONNECTION kafka (TOPIC 'users')
    KEY FORMAT TEXT VALUE FORMAT JSON
    INCLUDE KEY AS user_id
    ENVELOPE UPSERT;

CREATE MATERIALIZED VIEW traits AS
SELECT
    user_id,
    lower(trim(data ->> 'email')) AS email,
    data ->> 'first_name' AS first_name,
    coalesce(data ->> 'plan', 'free') AS plan,
    try_parse_timestamptz(data ->> 'created_at') AS created_at
FROM users;

CREATE SINK traits_to_segment
    FROM traits INTO SEGMENT CONNECTION segment (CALL IDENTIFY) KEY (user_id) ENVELOPE UPSERT;
