//! Laws of the operations, asked through them.

mod accounts;
mod books;
mod export;
mod fleet;
mod keys;
mod money;
mod random;
mod scale;
mod start;
mod usage;
