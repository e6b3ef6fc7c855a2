-- Which calls break the tracking plan, and how? In the shape of Segment's own "Violation Generated". The plan is a table
-- of JSON Schemas by event.
--
-- Key: message_id, field, type. State, if kept: one row a violation.
CREATE VIEW violations AS
SELECT
    calls.event AS "eventName",
    calls.message_id AS "eventMessageID",
    calls."timestamp" AS "eventTimestamp",
    broken.field AS "violationField",
    broken.type AS "violationType",
    broken.description AS "violationDescription"
FROM deduped AS calls
JOIN tracking_plan ON tracking_plan.event = calls.event,
LATERAL json_schema_violations(tracking_plan.schema, calls.data) AS broken
WHERE calls.type = 'track';
