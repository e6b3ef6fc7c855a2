//! Plans to running operators: workers, arrangements, peeks, subscriptions.
