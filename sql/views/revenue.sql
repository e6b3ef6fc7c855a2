-- Revenue and orders per plan: each user's orders count under the user's newest plan.
--
-- Key: plan. State: one sum a user, one row a user, one sum a plan.
CREATE MATERIALIZED VIEW revenue AS
SELECT coalesce(users.plan, 'unknown') AS plan, sum(orders.revenue) AS revenue, sum(orders.orders) AS orders
FROM (
    SELECT user_id, sum(CAST(properties ->> 'revenue' AS numeric)) AS revenue, count(*) AS orders
    FROM events
    WHERE type = 'track' AND event = 'Order Completed' AND user_id IS NOT NULL
    GROUP BY user_id
) AS orders
LEFT JOIN users ON users.user_id = orders.user_id
GROUP BY coalesce(users.plan, 'unknown');
