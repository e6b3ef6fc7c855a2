-- Dead letters, corrected and sent again, with their own ids and times: who has no user is known by their device.
--
-- State: none. Change the view as new kinds of letters come; those it already corrected are not sent twice, since their
-- calls stay the same messages to Segment.
CREATE SOURCE dead_letters
    FROM KAFKA CONNECTION kafka (TOPIC 'dead_letters') FORMAT JSON;

CREATE MATERIALIZED VIEW corrected AS
SELECT
    data -> 'body' ->> 'userId' AS user_id,
    data -> 'body' -> 'properties' ->> 'device' AS anonymous_id,
    coalesce(data -> 'body' ->> 'event', 'Unknown Event') AS event,
    data -> 'body' -> 'properties' AS properties,
    data -> 'body' ->> 'timestamp' AS "timestamp",
    data ->> 'message_id' AS message_id
FROM dead_letters
WHERE data ->> 'reason' LIKE '%missing';

CREATE SINK corrected_to_segment FROM corrected INTO SEGMENT CONNECTION segment (CALL TRACK);
