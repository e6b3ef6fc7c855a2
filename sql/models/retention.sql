-- Of those who came first in some week, how many came back one, two, … weeks later?
--
-- Key: cohort, week. State, if kept: one row for each user and week, one a user.
CREATE VIEW retention AS
WITH
    weeks AS (
        SELECT DISTINCT user_id, date_trunc('week', "timestamp") AS week
        FROM deduped
        WHERE user_id IS NOT NULL AND "timestamp" IS NOT NULL
    ),
    cohorts AS (
        SELECT user_id, min(week) AS cohort FROM weeks GROUP BY user_id
    )
SELECT
    cohort,
    CAST(extract(EPOCH FROM week - cohort) / 604800 AS int8) AS week,
    count(*) AS users
FROM weeks
JOIN cohorts ON cohorts.user_id = weeks.user_id
GROUP BY cohort, week - cohort;
