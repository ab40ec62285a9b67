//! `[telemetry]` of `tidemark.toml`: where the servers are, and how they are asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

use crate::ingest::servers::access::Server;
use crate::model::report::Grafana;

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
    /// The address of Grafana, for links to the evidence, or a table with url and the uids of its data sources. Default: no links.
    pub grafana: Option<GrafanaConfig>,
}

/// Grafana: its address alone, or with the names of its data sources.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum GrafanaConfig {
    Address(String),
    Table(GrafanaTable),
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrafanaTable {
    /// The address.
    pub url: String,
    /// The uid of the data source for Prometheus. Default: prometheus.
    pub prometheus: Option<String>,
    /// The uid of the data source for Tempo. Default: tempo.
    pub tempo: Option<String>,
    /// The uid of the data source for Pyroscope. Default: grafana-pyroscope-datasource.
    pub pyroscope: Option<String>,
    /// The uid of the data source for Loki. Default: loki.
    pub loki: Option<String>,
}

impl GrafanaConfig {
    pub fn grafana(&self) -> Grafana {
        match self {
            GrafanaConfig::Address(url) => Grafana { url: url.clone(), datasources: BTreeMap::new() },
            GrafanaConfig::Table(table) => {
                let named = [
                    ("prometheus", &table.prometheus),
                    ("tempo", &table.tempo),
                    ("grafana-pyroscope-datasource", &table.pyroscope),
                    ("loki", &table.loki),
                ];
                let named = named.into_iter().filter_map(|(kind, uid)| Some((kind.to_owned(), uid.clone()?)));
                Grafana { url: table.url.clone(), datasources: named.collect() }
            }
        }
    }
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
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServerConfig, D::Error> {
        let table = |table: ServerTable| ServerConfig::Table(Box::new(table));
        deserializer.deserialize_any(AddressOr { address: ServerConfig::Address, table })
    }
}

impl<'de> Deserialize<'de> for GrafanaConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GrafanaConfig, D::Error> {
        deserializer.deserialize_any(AddressOr { address: GrafanaConfig::Address, table: GrafanaConfig::Table })
    }
}

/// Reads a text or a table, so that an unknown key in the table is named.
struct AddressOr<C, T> {
    address: fn(String) -> C,
    table: fn(T) -> C,
}

impl<'de, C, T: Deserialize<'de>> de::Visitor<'de> for AddressOr<C, T> {
    type Value = C;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("an address such as \"http://127.0.0.1:9090\", or a table with url = \"...\"")
    }

    fn visit_str<E: de::Error>(self, address: &str) -> Result<C, E> {
        Ok((self.address)(address.to_owned()))
    }

    fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<C, M::Error> {
        Ok((self.table)(T::deserialize(MapAccessDeserializer::new(map))?))
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
