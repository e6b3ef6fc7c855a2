//! The repository's `sql/`, built in, so that the demo works from anywhere.

/// (path, text), in the order of paths.
pub(super) const FILES: [(&str, &str); 9] = [
    ("sql/connection.sql", include_str!("../../../sql/connection.sql")),
    ("sql/source.sql", include_str!("../../../sql/source.sql")),
    ("sql/views/active_users.sql", include_str!("../../../sql/views/active_users.sql")),
    ("sql/views/events.sql", include_str!("../../../sql/views/events.sql")),
    ("sql/views/funnel.sql", include_str!("../../../sql/views/funnel.sql")),
    ("sql/views/revenue.sql", include_str!("../../../sql/views/revenue.sql")),
    ("sql/views/segment_events_json.sql", include_str!("../../../sql/views/segment_events_json.sql")),
    ("sql/views/top_pages.sql", include_str!("../../../sql/views/top_pages.sql")),
    ("sql/views/users.sql", include_str!("../../../sql/views/users.sql")),
];

/// The views that the demo shows, in this order, each with the order of its rows.
pub(super) const SHOWN: [(&str, &str); 5] = [
    ("active_users", "type"),
    ("funnel", "viewed"),
    ("revenue", "plan"),
    ("top_pages", "views DESC, page"),
    ("users", "user_id"),
];
