-- A topic of members, keyed by user, tombstones for who has left → the audience "newsletter" of Segment.
--
-- State: the members.
CREATE SOURCE newsletter
    FROM KAFKA CONNECTION kafka (TOPIC 'newsletter')
    KEY FORMAT TEXT VALUE FORMAT JSON
    INCLUDE KEY AS user_id
    ENVELOPE UPSERT;

CREATE MATERIALIZED VIEW newsletter_members AS
SELECT user_id FROM newsletter WHERE coalesce(try_cast(data ->> 'subscribed' AS boolean), true);

CREATE SINK newsletter_to_segment
    FROM newsletter_members INTO SEGMENT CONNECTION segment (CALL AUDIENCE, AUDIENCE KEY 'newsletter') KEY (user_id);
