//! What features are worth by the rules alone.
