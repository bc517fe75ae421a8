//! The readers of outside bytes, built from their sources, and the laws that each fuzz target holds them to. Where a
//! law is broken it panics. Nothing of the product has to be public for this.

#[path = "../../dataplane/src/formats/mod.rs"]
#[expect(dead_code, unused_imports, reason = "a law needs some of it only")]
mod formats;

#[expect(dead_code, reason = "a law needs some of it only")]
#[path = "."]
mod decide {
    #[path = "../../dataplane/src/decide/address.rs"]
    pub(crate) mod address;
    #[path = "../../dataplane/src/decide/affinity.rs"]
    pub(crate) mod affinity;
    #[path = "../../dataplane/src/decide/via.rs"]
    pub(crate) mod via;
}

#[path = "../../dataplane/src/telemetry/id.rs"]
#[expect(dead_code, reason = "a law needs some of it only")]
mod request_id;

#[path = "../../control/src"]
#[expect(dead_code, unused_imports, reason = "a law needs some of it only")]
mod control {
    pub(crate) mod domain;
    pub(crate) mod model;
    pub(crate) mod prices;

    pub(crate) mod rest {
        mod body;
        mod fields;
        mod json;

        pub(crate) mod users {
            mod body;

            // Here, since nothing further out sees the readers.
            #[path = "../../../../fuzz/src/laws/rest.rs"]
            pub(crate) mod law;
        }
    }
}

use control::{domain, model, prices};

mod laws {
    pub mod answer;
    pub mod fault;
    pub mod headers;
    pub mod prices;
    pub mod recording;
    pub mod records;
    pub mod request;
    pub mod rules;
    pub mod stream;
}

pub use control::rest::users::law::rest;
pub use laws::{
    answer::answer, fault::fault, headers::headers, prices::prices, recording::recording,
    records::records, request::request, rules::rules, stream::stream,
};

/// Pieces of 1 to 16 bytes, as a simple generator has it.
fn pieces(body: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (body, u32::from(seed).wrapping_mul(2_654_435_761) | 1);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 28) as usize + 1;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
