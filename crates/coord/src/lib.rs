//! One loop that puts everything in order: catalog, timestamps, sessions, statements.
