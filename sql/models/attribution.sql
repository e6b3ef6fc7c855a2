-- Which campaign earns an order? Three answers side by side: all to the first touch, all to the last one, or an equal
-- part to each.
--
-- Key: campaign. State, if kept: touches and orders of each visitor, three sums a campaign.
CREATE VIEW attribution AS
WITH
    orders AS (
        SELECT
            message_id AS order_id,
            anonymous_id,
            "timestamp",
            try_cast(data -> 'properties' ->> 'revenue' AS numeric) AS revenue
        FROM deduped
        WHERE event = 'Order Completed' AND anonymous_id IS NOT NULL
    ),
    shares AS (
        SELECT
            touches.campaign,
            orders.revenue,
            row_number() OVER (PARTITION BY order_id ORDER BY touches."timestamp", message_id) AS nth,
            count(*) OVER (PARTITION BY order_id) AS of
        FROM orders
        JOIN touches ON touches.anonymous_id = orders.anonymous_id AND touches."timestamp" <= orders."timestamp"
    )
SELECT
    campaign,
    sum(CASE WHEN nth = 1 THEN revenue ELSE 0 END) AS first_touch,
    sum(CASE WHEN nth = of THEN revenue ELSE 0 END) AS last_touch,
    round(sum(revenue / of), 2) AS linear
FROM shares
GROUP BY campaign;
