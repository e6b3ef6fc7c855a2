//! deltamill: a streaming-view engine to embed.
