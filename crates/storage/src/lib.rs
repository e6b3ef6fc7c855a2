//! What survives a restart: the log, its sled index, recovery.
