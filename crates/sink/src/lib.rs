//! View changes to the outside world.
