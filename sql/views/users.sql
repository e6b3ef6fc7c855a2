-- One row per user: the newest traits that Segment sent.
--
-- Key: user_id. State: one row a user, since events only come.
CREATE MATERIALIZED VIEW users AS
SELECT DISTINCT ON (user_id)
    user_id,
    traits ->> 'email' AS email,
    traits ->> 'plan' AS plan,
    sent_at AS seen_at
FROM events
WHERE type = 'identify' AND user_id IS NOT NULL
ORDER BY user_id, sent_at DESC, message_id DESC;
