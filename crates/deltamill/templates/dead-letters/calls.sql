-- A topic of sign-ups as Track calls. What cannot be sent, or is refused, stands in `calls_to_segment_errors` and goes to the
-- topic "dead_letters", with the reason.
--
-- What was refused for a reason that has gone is sent again, as it is, by ALTER SINK calls_to_segment REPLAY ERRORS.
CREATE SOURCE signups
    FROM KAFKA CONNECTION kafka (TOPIC 'signups')
    FORMAT JSON INCLUDE PARTITION, OFFSET, TIMESTAMP WITH (ON ERROR = QUARANTINE);

CREATE MATERIALIZED VIEW calls AS
SELECT
    data ->> 'user' AS user_id,
    data ->> 'name' AS event,
    data ->> 'device' AS device,
    "timestamp",
    'signups-' || partition::text || '-' || "offset"::text AS message_id
FROM signups;

CREATE SINK calls_to_segment
    FROM calls INTO SEGMENT CONNECTION segment (
        CALL TRACK,
        DEAD LETTER TOPIC = 'dead_letters',
        DEAD LETTER CONNECTION = kafka
    );
