//! Price tables that are compared, taken over from public lists, and merged with the table in force. Pure: reads no file and
//! asks nobody.

pub mod diff;
pub mod import;
pub mod sync;
mod wire;
