//! Takes over a certificate that was issued to this program: it counts at once, and is written to its files as soon
//! as they can be written.

use std::{io, path::PathBuf, sync::Arc};

use tokio::task::{JoinError, spawn_blocking};

use super::{
    Inner, Leaf, Tls,
    material::{Content, MaterialError},
};
use crate::access::{Need, explain};

/// Why a certificate was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// Nobody who trusts the same authorities would believe it.
    #[error("it is signed by none of the authorities in {}", .0.display())]
    Uncertified(PathBuf),
    /// It is not for this program.
    #[error("{0}")]
    Unfit(String),
    /// The program ends.
    #[error("it was not looked at")]
    Ended(#[from] JoinError),
}

/// Why a certificate that is in force is not in its files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ends.
    #[error("it was not written")]
    Ended(#[from] JoinError),
}

impl Tls {
    /// Puts a certificate and its key, in PEM, in force; [`Tls::store`] writes them. `fits` looks at the
    /// certificate before.
    ///
    /// # Errors
    /// When they cannot be used: the earlier ones stay in force.
    pub async fn adopt(
        &self,
        certificate: String,
        key: String,
        fits: impl FnOnce(&Leaf) -> Result<(), String> + Send + 'static,
    ) -> Result<(), AdoptError> {
        let Some(inner) = self.inner.clone() else {
            return Ok(());
        };
        // The authorities are read.
        spawn_blocking(move || inner.adopt(&certificate, &key, fits)).await?
    }

    /// Writes what was adopted, if this program's files have not got it yet.
    ///
    /// # Errors
    /// When they cannot be written: what was adopted stays in force, and can be written later.
    pub async fn store(&self) -> Result<(), StoreError> {
        let Some(inner) = self.inner.clone() else {
            return Ok(());
        };
        spawn_blocking(move || inner.store()).await?
    }
}

impl Inner {
    fn adopt(
        &self,
        certificate: &str,
        key: &str,
        fits: impl FnOnce(&Leaf) -> Result<(), String>,
    ) -> Result<(), AdoptError> {
        let mut is_stored = self.is_stored.lock();
        let content = Content::with(certificate, key, &self.files)?;
        let material = content.parse(&self.files, self.roles, &self.clock)?;
        if !material.is_certified {
            return Err(AdoptError::Uncertified(self.files.authorities.clone()));
        }
        fits(&material.own).map_err(AdoptError::Unfit)?;
        *self.material.write() = Some(Arc::new(material));
        *self.content.lock() = Some(content);
        *is_stored = false;
        self.in_force();
        Ok(())
    }

    fn store(&self) -> Result<(), StoreError> {
        let mut is_stored = self.is_stored.lock();
        if *is_stored {
            return Ok(());
        }
        let content = self.content.lock().clone();
        if let Some(content) = content {
            let written = content.write(&self.files);
            written.map_err(|(path, error)| StoreError::Write {
                source: explain(error, &path, Need::Write),
                path,
            })?;
        }
        *is_stored = true;
        Ok(())
    }
}
