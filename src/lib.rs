//! Tidemark judges k6 load tests.
