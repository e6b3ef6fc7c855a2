-- How many known users viewed a product; viewed and added one; viewed, added and ordered?
--
-- One row. State: three flags a user.
CREATE MATERIALIZED VIEW funnel AS
SELECT
    count(*) FILTER (WHERE viewed) AS viewed,
    count(*) FILTER (WHERE viewed AND added) AS added,
    count(*) FILTER (WHERE viewed AND added AND ordered) AS ordered
FROM (
    SELECT
        user_id,
        bool_or(event = 'Product Viewed') AS viewed,
        bool_or(event = 'Product Added') AS added,
        bool_or(event = 'Order Completed') AS ordered
    FROM events
    WHERE type = 'track' AND user_id IS NOT NULL
    GROUP BY user_id
) AS steps;
