//! The house's rules about itself.
