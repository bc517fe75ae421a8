//! Databases for tests: one of its own for each, on the server that `TEST_DATABASE_URL` names.
