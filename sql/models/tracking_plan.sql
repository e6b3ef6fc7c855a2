-- The tracking plan: for each event a JSON Schema that its calls must fulfil. `violations` shows those that do not.
CREATE TABLE tracking_plan (event text NOT NULL, schema jsonb NOT NULL);
