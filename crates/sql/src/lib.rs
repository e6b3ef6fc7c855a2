//! SQL text to resolved, typed plans.
