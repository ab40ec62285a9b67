//! `[telemetry]` of `tidemark.toml`: where the servers are, and how they are asked.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

use crate::ingest::servers::access::Server;

use super::config::Positive;

/// Where the servers are that know what the system did during a run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The address of Prometheus, or of what answers as it does, such as http://127.0.0.1:9090; or a table, as [telemetry.prometheus]. Default: it is not asked.
    pub prometheus: Option<ServerConfig>,
    /// The address of Tempo, or a table. Default: it is not asked.
    pub tempo: Option<ServerConfig>,
    /// The address of Pyroscope, or a table. Default: it is not asked.
    pub pyroscope: Option<ServerConfig>,
    /// The address of Loki, or a table. Default: it is not asked.
    pub loki: Option<ServerConfig>,
    /// The services of the system under test, as the servers name them. Default: those that took part in traces during the run, else all that are known.
    pub services: Vec<String>,
    /// How long all questions about a run may take together, in seconds. Default: 30.
    pub seconds: Option<Positive>,
}

/// A server: its address alone, or with what it needs.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum ServerConfig {
    Address(String),
    Table(Box<ServerTable>),
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// The address, with the path that is put before every question's.
    pub url: String,
    /// The tenant, sent as X-Scope-OrgID. Default: none.
    pub tenant: Option<String>,
    /// The environment variable that holds a bearer token. Default: TIDEMARK_PROMETHEUS_TOKEN and so on, where it is set.
    pub token_env: Option<String>,
    /// The user, for servers that want a name and a password. Default: none.
    pub user: Option<String>,
    /// The environment variable that holds the user's password. Default: no password.
    pub password_env: Option<String>,
    /// Certificates in PEM that are trusted besides those of the system: a file, relative to this one. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key in PEM, in one file, relative to this one. Default: none.
    pub identity_file: Option<PathBuf>,
    /// Takes any certificate. Default: false.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// A proxy to ask through; those of the environment are not used. Default: none.
    pub proxy: Option<String>,
}

impl<'de> Deserialize<'de> for ServerConfig {
    /// By hand, so that an unknown key in the table is named.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServerConfig, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ServerConfig;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("an address such as \"http://127.0.0.1:9090\", or a table with url = \"...\"")
            }

            fn visit_str<E: de::Error>(self, address: &str) -> Result<ServerConfig, E> {
                Ok(ServerConfig::Address(address.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ServerConfig, A::Error> {
                let table = ServerTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ServerConfig::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl TelemetryConfig {
    pub fn server(&self, server: Server) -> Option<&ServerConfig> {
        match server {
            Server::Prometheus => self.prometheus.as_ref(),
            Server::Tempo => self.tempo.as_ref(),
            Server::Pyroscope => self.pyroscope.as_ref(),
            Server::Loki => self.loki.as_ref(),
        }
    }

    pub fn files_are_relative_to(&mut self, folder: &Path) {
        let servers = [&mut self.prometheus, &mut self.tempo, &mut self.pyroscope, &mut self.loki];
        for server in servers.into_iter().flatten() {
            if let ServerConfig::Table(table) = server {
                for file in [&mut table.ca_file, &mut table.identity_file].into_iter().flatten() {
                    *file = folder.join(&*file);
                }
            }
        }
    }
}
