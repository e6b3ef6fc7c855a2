-- How recently, how often and for how much does each customer buy? Scores from 1 to 5, the best is 5.
--
-- Key: user_id. State, if kept: three figures a customer, and the order of all of them by each.
CREATE VIEW rfm AS
SELECT
    user_id,
    recency,
    frequency,
    monetary,
    ntile(5) OVER (ORDER BY recency, user_id) AS r,
    ntile(5) OVER (ORDER BY frequency, user_id) AS f,
    ntile(5) OVER (ORDER BY monetary, user_id) AS m
FROM (
    SELECT
        user_id,
        max("timestamp") AS recency,
        count(*) AS frequency,
        sum(try_cast(data -> 'properties' ->> 'revenue' AS numeric)) AS monetary
    FROM deduped
    WHERE event = 'Order Completed' AND user_id IS NOT NULL
    GROUP BY user_id
) AS customers;
