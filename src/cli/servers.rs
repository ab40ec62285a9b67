//! Where the servers are: what the command line and the environment say, else the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use url::Url;

use crate::engine::evidence::Source;
use crate::ingest::servers::Servers;
use crate::ingest::servers::access::{Access, AddressError, Credentials, Secret, Server, Tls};
use crate::model::report::Grafana;

use super::UsageError;
use super::config::{Config, Positive};
use super::telemetry_config::{GrafanaConfig, ServerConfig, ServerTable};

/// A report waits no longer for the servers.
const SECONDS_DEFAULT: f64 = 30.0;

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What the system did meanwhile")]
pub struct ServersArgument {
    /// Where Prometheus is: asks it about the run. A token comes from TIDEMARK_PROMETHEUS_TOKEN, so for the others.
    #[arg(long, env = "TIDEMARK_PROMETHEUS", value_name = "URL", hide_env_values = true)]
    prometheus: Option<String>,
    /// Where Tempo is.
    #[arg(long, env = "TIDEMARK_TEMPO", value_name = "URL", hide_env_values = true)]
    tempo: Option<String>,
    /// Where Pyroscope is.
    #[arg(long, env = "TIDEMARK_PYROSCOPE", value_name = "URL", hide_env_values = true)]
    pyroscope: Option<String>,
    /// Where Loki is.
    #[arg(long, env = "TIDEMARK_LOKI", value_name = "URL", hide_env_values = true)]
    loki: Option<String>,
    /// Where Grafana is: the page links each piece of evidence to it.
    #[arg(long, env = "TIDEMARK_GRAFANA", value_name = "URL")]
    grafana: Option<String>,
    /// How long the servers may be asked about a run; 30 when nothing says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    telemetry_seconds: Option<Positive>,
}

fn seconds(text: &str) -> Result<Positive, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    // An hour is beyond any wait; and no clock of the system holds every number.
    if number > 0.0 && number <= 3_600.0 { Ok(Positive(number)) } else { Err("expected 0 to 3600 seconds".to_owned()) }
}

impl ServersArgument {
    /// Returns the servers that are known; none when there is none.
    pub fn servers(&self, config: &Config) -> Result<Option<Servers>, UsageError> {
        let mut access = BTreeMap::new();
        for server in Server::ALL {
            let said = match server {
                Server::Prometheus => &self.prometheus,
                Server::Tempo => &self.tempo,
                Server::Pyroscope => &self.pyroscope,
                Server::Loki => &self.loki,
            };
            let said = said.as_ref().filter(|address| !address.is_empty());
            let found = match (said, config.telemetry.server(server)) {
                (Some(address), _) => by_address(server, address, &format!("--{}", server.name()))?,
                (None, Some(ServerConfig::Address(address))) => by_address(server, address, &place_of(server))?,
                (None, Some(ServerConfig::Table(table))) => by_table(server, table)?,
                (None, None) => continue,
            };
            access.insert(server, found);
        }
        if access.is_empty() {
            return Ok(None);
        }
        let seconds = self.telemetry_seconds.or(config.telemetry.seconds).map_or(SECONDS_DEFAULT, |seconds| seconds.0);
        let services = config.telemetry.services.clone();
        Ok(Some(Servers { access, services, time_limit: Duration::from_secs_f64(seconds.min(3_600.0)) }))
    }

    pub fn grafana(&self, config: &Config) -> Option<Grafana> {
        let said = self.grafana.clone().filter(|address| !address.is_empty());
        let said = said.map(|url| Grafana { url, datasources: BTreeMap::new() });
        said.or_else(|| config.telemetry.grafana.as_ref().map(GrafanaConfig::grafana))
    }

    /// As [`ServersArgument::servers`], as a source of answers.
    pub fn source(&self, config: &Config) -> Result<Option<Source>, UsageError> {
        let servers = self.servers(config)?;
        Ok(servers.map(|servers| Source::Servers(servers, Arc::<AtomicU64>::default())))
    }
}

fn place_of(server: Server) -> String {
    format!("[telemetry] {}", server.name())
}

fn by_address(server: Server, address: &str, place: &str) -> Result<Access, UsageError> {
    let mut access = Access::parse(address).map_err(|error| wrong(place, &error))?;
    if matches!(access.credentials, Credentials::None) {
        access.credentials = usual_token(server);
    }
    Ok(access)
}

fn by_table(server: Server, table: &ServerTable) -> Result<Access, UsageError> {
    let place = place_of(server);
    let mut access = by_address(server, &table.url, &place)?;
    let variable = |name: &String, key: &str| {
        let missing = || UsageError(format!("{place}: the environment variable {name}, named as {key}, is not set"));
        std::env::var(name).map(Secret).map_err(|_| missing())
    };
    if let Some(name) = &table.token_env {
        access.credentials = Credentials::Bearer(variable(name, "token_env")?);
    }
    if let Some(user) = &table.user {
        let password = table.password_env.as_ref().map(|name| variable(name, "password_env")).transpose()?;
        let password = password.unwrap_or(Secret(String::new()));
        access.credentials = Credentials::Basic { user: user.clone(), password };
    }
    let proxy = table.proxy.as_ref().map(|proxy| Url::parse(proxy)).transpose();
    access.proxy = proxy.map_err(|error| UsageError(format!("{place}: proxy is no address: {error}")))?;
    access.tenant = table.tenant.clone();
    access.tls = Tls {
        authorities: table.ca_file.clone(),
        identity: table.identity_file.clone(),
        is_unverified: table.insecure_skip_verify,
    };
    Ok(access)
}

fn usual_token(server: Server) -> Credentials {
    let name = format!("TIDEMARK_{}_TOKEN", server.name().to_uppercase());
    let token = std::env::var(name).ok().filter(|token| !token.is_empty());
    token.map_or(Credentials::None, |token| Credentials::Bearer(Secret(token)))
}

fn wrong(place: &str, error: &AddressError) -> UsageError {
    UsageError(format!("{place}: {error}"))
}
