//! Where the tables of kept runs lie, for readers that open them by themselves.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use super::Store;
use super::manifest::{Manifest, TableFile};

impl Store {
    /// The objects of this store; paths in it are those that `table_path` gives.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    pub fn table_path(&self, manifest: &Manifest, table: &TableFile) -> Path {
        self.attempt_path(&manifest.attempt, &table.file)
    }
}
