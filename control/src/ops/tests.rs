//! Laws of the operations, asked through them.
