-- Topics of orders and refunds as the e-commerce events "Order Completed" and "Order Refunded".
--
-- An order is {"id", "customer", "placed_at", "currency", "coupon", "lines": [{"sku", "name", "price", "quantity"}]}, a refund
-- {"order", "amount", "refunded_at"}; the refund's customer is the order's. State: orders by id, for refunds that come later.
CREATE SOURCE orders
    FROM KAFKA CONNECTION kafka (TOPIC 'orders') FORMAT JSON INCLUDE TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE SOURCE refunds
    FROM KAFKA CONNECTION kafka (TOPIC 'refunds') FORMAT JSON INCLUDE TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE VIEW order_lines AS
SELECT
    o.data ->> 'id' AS order_id,
    line ->> 'sku' AS sku,
    line ->> 'name' AS name,
    try_cast(line ->> 'price' AS numeric) AS price,
    coalesce(try_cast(line ->> 'quantity' AS int8), 1) AS quantity
FROM orders AS o, jsonb_array_elements(o.data -> 'lines') AS l (line);

CREATE VIEW order_totals AS
SELECT
    order_id,
    sum(price * quantity) AS revenue,
    jsonb_agg(
        jsonb_strip_nulls(
            jsonb_build_object('sku', sku, 'name', name, 'price', price, 'quantity', quantity)
        ) ORDER BY sku
    ) AS products
FROM order_lines
GROUP BY order_id;

CREATE MATERIALIZED VIEW order_events AS
SELECT
    o.data ->> 'customer' AS user_id,
    'Order Completed' AS event,
    coalesce(try_parse_timestamptz(o.data ->> 'placed_at'), o."timestamp") AS "timestamp",
    jsonb_strip_nulls(
        jsonb_build_object(
            'order_id', o.data ->> 'id',
            'revenue', t.revenue,
            'currency', coalesce(o.data ->> 'currency', 'USD'),
            'coupon', o.data ->> 'coupon',
            'products', t.products
        )
    ) AS properties,
    'order-' || (o.data ->> 'id') AS message_id
FROM orders AS o
JOIN order_totals AS t ON t.order_id = o.data ->> 'id'
UNION ALL
SELECT
    o.data ->> 'customer',
    'Order Refunded',
    coalesce(try_parse_timestamptz(r.data ->> 'refunded_at'), r."timestamp"),
    jsonb_strip_nulls(
        jsonb_build_object(
            'order_id', r.data ->> 'order',
            'total', try_cast(r.data ->> 'amount' AS numeric),
            'currency', coalesce(o.data ->> 'currency', 'USD')
        )
    ),
    'refund-' || (r.data ->> 'order')
FROM refunds AS r
JOIN orders AS o ON o.data ->> 'id' = r.data ->> 'order';

CREATE SINK orders_to_segment FROM order_events INTO SEGMENT CONNECTION segment (CALL TRACK);
