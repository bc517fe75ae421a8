//! Loop detection for a cascade: each node adds itself to `Via` and refuses calls that it has seen before.

const OURS: &str = "proxyxai-";

/// A longer chain is a mistake, if not a loop.
const NODES_MAX: usize = 8;

/// The call passed this node before, or too many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loop;

/// Checks the values of `Via`.
///
/// # Errors
/// Errors if they contain this node, or more than eight nodes.
pub(crate) fn check<'a>(values: impl Iterator<Item = &'a str>, node: &str) -> Result<(), Loop> {
    let mut nodes = 0;
    for entry in values.flat_map(|value| value.split(',')) {
        // An entry has a protocol, the receiving node, and an optional comment.
        let Some(received_by) = entry.split_ascii_whitespace().nth(1) else {
            continue;
        };
        let Some(name) = received_by.strip_prefix(OURS) else {
            continue;
        };
        nodes += 1;
        if name == node || nodes > NODES_MAX {
            return Err(Loop);
        }
    }
    Ok(())
}

/// The entry of this node.
pub(crate) fn own(node: &str) -> String {
    format!("1.1 {OURS}{node}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_that_was_here_is_refused() {
        assert_eq!(check(["1.1 proxyxai-a"].into_iter(), "a"), Err(Loop));
        assert_eq!(
            check(["1.0 cdn, 1.1 proxyxai-a (x)"].into_iter(), "a"),
            Err(Loop)
        );
        assert_eq!(
            check(["1.1 proxyxai-ab", "HTTP/2 proxyxai-b"].into_iter(), "a"),
            Ok(())
        );
        assert_eq!(check([""].into_iter(), "a"), Ok(()));
    }

    proptest! {
        #[test]
        fn eight_nodes_may_be_passed_and_no_more(nodes in 0usize..20, others in 0usize..20, lines in any::<bool>()) {
            let mut entries: Vec<_> = (0..nodes).map(|at| own(&format!("n{at}"))).collect();
            entries.extend((0..others).map(|at| format!("1.1 proxy{at}")));
            let joined = vec![entries.join(", ")];
            let values = if lines { &entries } else { &joined };
            prop_assert_eq!(check(values.iter().map(String::as_str), "me").is_ok(), nodes <= NODES_MAX);
        }
    }
}
