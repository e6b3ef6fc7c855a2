-- The tables that Segment's warehouse destinations write, as views over the events: queries and packages made for those
-- run here. Every view here is plain; one that is asked often deserves an index.
CREATE SCHEMA warehouse;
