-- Who is in the audience "buyers": two orders or more, or one worth 100 and not refunded?
--
-- Key: user_id. A row comes when somebody enters and goes when they leave; a sink makes calls of both. State, if kept:
-- three figures a user.
CREATE VIEW audience_buyers AS
SELECT user_id
FROM deduped
WHERE event IN ('Order Completed', 'Order Refunded') AND user_id IS NOT NULL
GROUP BY user_id
HAVING count(*) FILTER (WHERE event = 'Order Completed') >= 2
    OR (
        max(try_cast(data -> 'properties' ->> 'revenue' AS numeric)) >= 100
        AND count(*) FILTER (WHERE event = 'Order Refunded') = 0
    );
