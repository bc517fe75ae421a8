//! Which objects a call may refer to, and the key that it must use for them.

use proxyxai_contract::{
    id::{AccountId, KeyId},
    object::{ObjectKind, OwnedObject},
};

use super::refusal::Refusal;

/// A reference of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectReference<'a> {
    pub(crate) kind: ObjectKind,
    pub(crate) id: &'a str,
    /// Whether it is in the path, not in the body.
    pub(crate) by_path: bool,
}

/// Finds the object of each reference. The chain of accounts from the owner up decides access. An object of another
/// account is treated like one that never existed. An unknown object that root names in a body is the operator's own.
///
/// # Errors
/// Errors if an object is not the caller's, or they belong to different keys.
pub(crate) fn objects<'o>(
    caller: AccountId,
    named: &[ObjectReference<'_>],
    known: &[&'o OwnedObject],
    is_above: impl Fn(AccountId) -> bool,
) -> Result<(Option<KeyId>, Option<&'o OwnedObject>), Refusal> {
    let (mut key, mut about) = (None, None);
    for ObjectReference { kind, id, by_path } in named {
        let mine = known
            .iter()
            .copied()
            .filter(|one| one.id == *id && one.kind == *kind);
        let mine = mine.filter(|one| one.account == caller || is_above(one.account));
        // Prefer an object on the key of the others.
        let mine =
            mine.min_by_key(|one| (key.is_some_and(|key| key != one.key), one.account != caller));
        let Some(one) = mine else {
            if caller == AccountId::ROOT && !by_path {
                continue;
            }
            return Err(Refusal::NoSuchObject {
                kind: kind.as_str(),
                id: (*id).to_owned(),
            });
        };
        if key.is_some_and(|key| key != one.key) {
            return Err(Refusal::Malformed(
                "the request refers to objects that were made with different upstream keys, which no provider has together"
                    .to_owned(),
            ));
        }
        key = Some(one.key);
        if *by_path {
            about = Some(one);
        }
    }
    Ok((key, about))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::clock::Millis;

    use super::*;

    fn account(id: i64) -> AccountId {
        AccountId::new(id).unwrap()
    }

    fn owned(id: &str, of: i64, key: i64) -> OwnedObject {
        OwnedObject {
            id: id.to_owned(),
            kind: ObjectKind::File,
            account: account(of),
            client_key: None,
            key: KeyId::new(key).unwrap(),
            created: Millis(0),
            expires: Millis(9),
            status: String::new(),
            pending: None,
            calls: None,
        }
    }

    fn file(id: &str) -> ObjectReference<'_> {
        ObjectReference {
            kind: ObjectKind::File,
            id,
            by_path: false,
        }
    }

    #[test]
    fn objects_of_one_call_are_on_one_key() {
        let known = [owned("a", 2, 1), owned("b", 2, 2), owned("b", 2, 1)];
        let ask = |named: &[ObjectReference<'_>], known: &[OwnedObject]| {
            let known: Vec<_> = known.iter().collect();
            objects(account(2), named, &known, |_| false).map(|found| found.0.map(KeyId::get))
        };
        assert_eq!(ask(&[], &known), Ok(None));
        assert_eq!(ask(&[file("a"), file("b")], &known), Ok(Some(1)));
        let refusal = ask(&[file("a"), file("b")], &known[..2]).unwrap_err();
        assert_eq!(refusal.status(), 400);
    }

    #[test]
    fn what_root_names_in_a_body_and_nobody_made_here_is_its_own() {
        let root = AccountId::ROOT;
        assert_eq!(objects(root, &[file("x")], &[], |_| true), Ok((None, None)));
        let by_path = ObjectReference {
            by_path: true,
            ..file("x")
        };
        assert!(objects(root, &[by_path], &[], |_| true).is_err());
    }

    proptest! {
        #[test]
        fn nobody_but_the_owner_and_those_above_refers_to_an_object(owner in 2i64..6, caller in 2i64..6, above in any::<bool>(), by_path in any::<bool>()) {
            let known = owned("x", owner, 1);
            let named = [ObjectReference { by_path, ..file("x") }];
            let found = objects(account(caller), &named, &[&known], |_| above);
            prop_assert_eq!(found.is_ok(), owner == caller || above);
            if let Err(refusal) = found {
                let never = objects(account(caller), &named, &[], |_| above).unwrap_err();
                prop_assert_eq!(refusal, never);
            }
        }
    }
}
