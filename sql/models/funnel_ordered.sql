-- How many visitors viewed a product, then put one into the cart within an hour, then ordered within a day?
--
-- One row. State, if kept: three times a visitor.
CREATE VIEW funnel_ordered AS
WITH
    viewed AS (
        SELECT anonymous_id, min("timestamp") AS at
        FROM deduped
        WHERE event = 'Product Viewed' AND anonymous_id IS NOT NULL
        GROUP BY anonymous_id
    ),
    added AS (
        SELECT viewed.anonymous_id, min(deduped."timestamp") AS at
        FROM viewed
        JOIN deduped ON deduped.anonymous_id = viewed.anonymous_id
        WHERE event = 'Product Added' AND "timestamp" > viewed.at AND "timestamp" <= viewed.at + INTERVAL '1 hour'
        GROUP BY viewed.anonymous_id
    ),
    ordered AS (
        SELECT added.anonymous_id, min(deduped."timestamp") AS at
        FROM added
        JOIN deduped ON deduped.anonymous_id = added.anonymous_id
        WHERE event = 'Order Completed' AND "timestamp" > added.at AND "timestamp" <= added.at + INTERVAL '1 day'
        GROUP BY added.anonymous_id
    )
SELECT
    (SELECT count(*) FROM viewed) AS viewed,
    (SELECT count(*) FROM added) AS added,
    (SELECT count(*) FROM ordered) AS ordered;
