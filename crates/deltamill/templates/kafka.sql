-- The cluster: the Kafka inside `deltamill serve --kafka-listen 127.0.0.1:9092`. Any other: its address, and for a hosted one
-- SECURITY PROTOCOL = 'SASL_SSL', SASL MECHANISMS, SASL USERNAME and SASL PASSWORD.
CREATE CONNECTION kafka TO KAFKA (BROKER '127.0.0.1:9092', SECURITY PROTOCOL PLAINTEXT);
