-- The topic's messages as they are: one row a message, its bytes in `data`.
--
-- Variables: topic.
CREATE SOURCE segment
    FROM KAFKA CONNECTION kafka_connection (TOPIC :'topic')
    FORMAT BYTES;
