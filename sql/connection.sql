-- The cluster that holds the topic of Segment events.
--
-- Variables: broker (host:port), protocol (PLAINTEXT for a local broker, SASL_SSL for a hosted one), username, password.
CREATE SECRET kafka_password AS :'password';

CREATE CONNECTION kafka_connection TO KAFKA (
    BROKER :'broker',
    SECURITY PROTOCOL = :protocol,
    SASL MECHANISMS = 'SCRAM-SHA-256',
    SASL USERNAME = :'username',
    SASL PASSWORD = SECRET kafka_password
);
