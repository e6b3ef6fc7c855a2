-- Each account with the newest traits: Segment's `accounts`, whose id is the group's.
--
-- Key: id. State, if kept: one row an account.
CREATE VIEW warehouse.accounts AS
SELECT DISTINCT ON (group_id) group_id AS id, received_at, name, plan, industry, employees
FROM warehouse.groups
WHERE group_id IS NOT NULL
ORDER BY group_id, "timestamp" DESC, warehouse.groups.id DESC;
