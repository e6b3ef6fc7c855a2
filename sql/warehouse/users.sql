-- Each user with the newest traits: Segment's `users`, whose id is the user's.
--
-- Key: id. State, if kept: one row a user.
CREATE VIEW warehouse.users AS
SELECT DISTINCT ON (user_id)
    user_id AS id, received_at, email, name, plan, city, country, context_ip, context_locale, context_timezone
FROM warehouse.identifies
WHERE user_id IS NOT NULL
ORDER BY user_id, "timestamp" DESC, warehouse.identifies.id DESC;
