-- The ten pages with the most views.
--
-- State: one counter a page, and the ten.
CREATE MATERIALIZED VIEW top_pages AS
SELECT properties ->> 'path' AS page, count(*) AS views
FROM events
WHERE type = 'page'
GROUP BY properties ->> 'path'
ORDER BY count(*) DESC, properties ->> 'path'
LIMIT 10;
