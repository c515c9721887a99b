//! Learning, proven against the field's references.

mod metrics;
