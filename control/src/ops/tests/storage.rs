//! Tests of the reported state of the storage.

use crate::{
    Error,
    testing::{ROOT, World, everywhere},
};

#[tokio::test]
async fn a_wait_for_a_connection_that_others_have_is_no_fault_of_the_storage() {
    everywhere(async |world: &mut World| {
        let store = world.control.store();
        // More than any pool has, so that the last one times out.
        let mut held = Vec::new();
        let error = loop {
            match store.begin().await {
                Ok(tx) => held.push(tx),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Storage(_)), "{error:?}");
        assert_eq!(*world.control.storage_fault().borrow(), None);
        drop(held);
        world.child(&ROOT, "alice", 10.0).await;
    })
    .await;
}

#[tokio::test]
async fn after_a_statement_that_failed_nothing_more_happens_in_a_transaction() {
    everywhere(async |world: &mut World| {
        let tx = world.control.store().begin().await.unwrap();
        crate::store::testing::fail_in(&tx).await;
        let after = crate::store::revisions::bump(&tx).await;
        assert!(after.is_err());
        assert!(tx.commit().await.is_err());
        // The statement was wrong, not the storage.
        assert_eq!(*world.control.storage_fault().borrow(), None);
        world.child(&ROOT, "alice", 10.0).await;
    })
    .await;
}
