-- How many calls of each type came, and from how many known users?
--
-- Key: type. State: one entry a user and type.
CREATE MATERIALIZED VIEW active_users AS
SELECT type, count(*) AS calls, count(DISTINCT user_id) AS users
FROM events
GROUP BY type;
