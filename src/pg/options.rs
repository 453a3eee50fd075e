//! The single parameters of a connection: what they may be, and what their text means.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conninfo;
use super::error::PgError;
use super::params::Surroundings;
use super::service::{self, Place};

/// Directories where servers put their sockets: Debian's, and `PostgreSQL`'s own.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

const DEFAULT_PORT: u16 = 5432;

/// The parameters that are understood, with the environment variable that gives each.
pub(super) const KNOWN: &[(&str, &str)] = &[
    ("service", "PGSERVICE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("dbname", "PGDATABASE"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    // Accepted, and without effect here: the session's settings are fixed, hosts are tried in
    // order, and nothing is compressed.
    ("client_encoding", ""),
    ("load_balance_hosts", ""),
    ("sslcompression", ""),
    // Understood only as far as they ask for nothing.
    ("gssencmode", "PGGSSENCMODE"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("requirepeer", "PGREQUIREPEER"),
    ("require_auth", "PGREQUIREAUTH"),
    ("sslpassword", ""),
    ("replication", ""),
];

/// libpq's `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server will not have it without.
    Allow,
    /// TLS if the server can.
    Prefer,
    /// TLS or nothing. The certificate is checked only if a root certificate file exists.
    Require,
    /// The certificate must come from a known root.
    VerifyCa,
    /// It must be for the host's name as well.
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Where root certificates come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootCert {
    /// The operating system's.
    System,
    /// A file of PEM certificates; whether it exists decides what `sslmode` means.
    File(PathBuf),
    /// There is no home directory and no file was named.
    None,
}

/// The client's own certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCert {
    /// PEM certificates; used if the file exists.
    pub cert: PathBuf,
    /// The PEM private key; must exist if the certificate does.
    pub key: PathBuf,
}

/// All that TLS needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsParams {
    /// How much of it is asked for.
    pub mode: SslMode,
    /// TLS from the first byte, without asking in the clear first (server 17 and later).
    pub direct: bool,
    /// Root certificates.
    pub root: RootCert,
    /// The client's certificate, if one may be sent.
    pub client: Option<ClientCert>,
    /// Whether the host's name is told in the clear.
    pub sni: bool,
    /// Whether TLS 1.2 may be used.
    pub allow_12: bool,
    /// Whether TLS 1.3 may be used.
    pub allow_13: bool,
    /// SCRAM's binding to the TLS channel.
    pub channel_binding: ChannelBinding,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where possible.
    Prefer,
    /// Or nothing.
    Require,
}

/// What kind of server will do (libpq's `target_session_attrs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Any.
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// Not a standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or any if there is none.
    PreferStandby,
}

pub(super) const TARGETS: [(&str, Target); 6] = [
    ("any", Target::Any),
    ("read-write", Target::ReadWrite),
    ("read-only", Target::ReadOnly),
    ("primary", Target::Primary),
    ("standby", Target::Standby),
    ("prefer-standby", Target::PreferStandby),
];

/// TCP keepalives. They end a connection whose other side is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalives {
    /// Whether there are any.
    pub on: bool,
    /// Silence before the first.
    pub idle: Duration,
    /// Time between two.
    pub interval: Duration,
    /// How many go unanswered before the connection is lost.
    pub count: u32,
    /// How long sent data may stay unacknowledged; zero leaves it to the system.
    pub user_timeout: Duration,
}

/// One place to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Host name, address or socket directory; empty only if `address` is there.
    pub name: String,
    /// An address that spares looking the name up.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Host {
    /// The socket's directory, if it is one.
    pub fn socket_directory(&self) -> Option<&Path> {
        (self.address.is_none() && self.name.starts_with('/')).then(|| Path::new(&self.name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, port } = self;
        match address {
            _ if self.socket_directory().is_some() => write!(f, "socket {name}/.s.PGSQL.{port}"),
            Some(address) if name.is_empty() || *name == address.to_string() => {
                write!(f, "host {address}, port {port}")
            }
            Some(address) => write!(f, "host {name} ({address}), port {port}"),
            None => write!(f, "host {name}, port {port}"),
        }
    }
}

/// Parameters by name; an empty value is as good as none.
pub(super) struct Values(HashMap<String, String>);

impl Values {
    pub(super) fn gather(conn: Option<&str>, around: &Surroundings<'_>) -> Result<Self, PgError> {
        let mut values = HashMap::new();
        for (key, value) in conninfo::parse(conn.unwrap_or_default())? {
            check_known(&key)?;
            values.insert(key, value);
        }
        let variable = |name: &str| (around.variable)(name).filter(|_| !name.is_empty());
        let service = values.get("service").cloned().or_else(|| variable("PGSERVICE"));
        if let Some(name) = service.filter(|name| !name.is_empty()) {
            let mut places = Vec::new();
            let mut add = |path: PathBuf, required| places.push(Place { path, required });
            match variable("PGSERVICEFILE") {
                Some(path) => add(path.into(), true),
                None => around.home.iter().for_each(|h| add(h.join(".pg_service.conf"), false)),
            }
            if let Some(directory) = variable("PGSYSCONFDIR") {
                add(Path::new(&directory).join("pg_service.conf"), false);
            } else {
                add("/etc/postgresql-common/pg_service.conf".into(), false);
                add("/etc/pg_service.conf".into(), false);
            }
            for (key, value) in service::find(&name, &places)? {
                check_known(&key)?;
                values.entry(key).or_insert(value);
            }
        }
        for (key, name) in KNOWN {
            if let Some(value) = variable(name) {
                values.entry((*key).to_owned()).or_insert(value);
            }
        }
        Ok(Self(values))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, PgError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.trim().parse();
        number.map(Some).map_err(|_| PgError::parameter(name, format!("{text:?} is no number")))
    }
}

fn check_known(key: &str) -> Result<(), PgError> {
    if KNOWN.iter().any(|(known, _)| *known == key) {
        return Ok(());
    }
    // The name may be a piece of a password whose quotes went wrong: say it only if it looks
    // like a name.
    let looks = key.len() <= 40 && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    Err(PgError::parameter(if looks { key } else { "connection string" }, "unknown parameter"))
}

pub(super) fn unknown(name: &str, value: &str) -> PgError {
    PgError::parameter(name, format!("{value:?} is not one of its values"))
}

pub(super) fn hosts(values: &Values) -> Result<Vec<Host>, PgError> {
    let list = |name| -> Vec<String> {
        values
            .get(name)
            .map(|v| v.split(',').map(|s| s.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = names.len().max(addresses.len()).max(1);
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        let problem = format!("{} addresses for {} hosts", addresses.len(), names.len());
        return Err(PgError::parameter("hostaddr", problem));
    }
    if ports.len() > 1 && ports.len() != count {
        let problem = format!("{} ports for {count} hosts", ports.len());
        return Err(PgError::parameter("port", problem));
    }
    let mut out = Vec::new();
    for at in 0..count {
        let port = ports.get(at).or_else(|| ports.first()).map_or("", String::as_str);
        let port = match port {
            "" => DEFAULT_PORT,
            text => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| PgError::parameter("port", format!("{text:?} is no port")))?,
        };
        let address = match addresses.get(at).map_or("", String::as_str) {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                PgError::parameter("hostaddr", format!("{text:?} is no IP address"))
            })?),
        };
        let name = names.get(at).cloned().unwrap_or_default();
        if name.starts_with('@') {
            let problem = format!("{name:?}: sockets in the abstract namespace are not supported");
            return Err(PgError::parameter("host", problem));
        }
        if name.is_empty() && address.is_none() {
            for directory in SOCKET_DIRECTORIES {
                out.push(Host { name: directory.to_owned(), address: None, port });
            }
        } else {
            out.push(Host { name, address, port });
        }
    }
    Ok(out)
}

/// libpq's rule: zero and less is for ever, one is two.
pub(super) fn timeout(values: &Values) -> Result<Option<Duration>, PgError> {
    let seconds = values.number::<i64>("connect_timeout")?.unwrap_or(0);
    Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(|s| Duration::from_secs(s.max(2))))
}

pub(super) fn keepalives(values: &Values) -> Result<Keepalives, PgError> {
    let seconds = |name, default| -> Result<Duration, PgError> {
        let seconds = values.number::<i64>(name)?.unwrap_or(0);
        let given = u64::try_from(seconds).ok().filter(|s| *s > 0);
        Ok(Duration::from_secs(given.unwrap_or(default)))
    };
    let milliseconds = values.number::<i64>("tcp_user_timeout")?.unwrap_or(0);
    // Tighter than the system's two hours: a backup that waits for a dead server is no backup.
    Ok(Keepalives {
        on: values.number::<i64>("keepalives")? != Some(0),
        idle: seconds("keepalives_idle", 60)?,
        interval: seconds("keepalives_interval", 10)?,
        count: values
            .number::<i64>("keepalives_count")?
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(6),
        user_timeout: Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)),
    })
}

pub(super) fn tls(
    values: &Values,
    home: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<TlsParams, PgError> {
    let directory = home.map(|home| home.join(".postgresql"));
    let root = match values.get("sslrootcert") {
        Some("system") => RootCert::System,
        Some(path) => RootCert::File(path.into()),
        None => directory.as_ref().map_or(RootCert::None, |d| RootCert::File(d.join("root.crt"))),
    };
    let mode = match values.get("sslmode") {
        Some(text) => SslMode::parse(text).ok_or_else(|| unknown("sslmode", text))?,
        None if root == RootCert::System => SslMode::VerifyFull,
        None => SslMode::Prefer,
    };
    if root == RootCert::System && mode != SslMode::VerifyFull {
        let problem = format!("{} is too weak for sslrootcert=system", mode.name());
        return Err(PgError::parameter("sslmode", problem));
    }
    let direct = match values.get("sslnegotiation") {
        None | Some("postgres") => false,
        Some("direct") if mode < SslMode::Require => {
            let problem = format!("direct is not possible with sslmode={}", mode.name());
            return Err(PgError::parameter("sslnegotiation", problem));
        }
        Some("direct") => true,
        Some(text) => return Err(unknown("sslnegotiation", text)),
    };
    let client = match values.get("sslcertmode") {
        None | Some("allow") => {
            let path = |name, file: &str| {
                let given = values.get(name).map(PathBuf::from);
                given.or_else(|| directory.as_ref().map(|d| d.join(file)))
            };
            path("sslcert", "postgresql.crt")
                .zip(path("sslkey", "postgresql.key"))
                .map(|(cert, key)| ClientCert { cert, key })
        }
        Some("disable") => None,
        Some(text) => {
            return Err(PgError::parameter("sslcertmode", format!("{text:?} is not supported")));
        }
    };
    let version = |name: &str, default: u8| match values.get(name) {
        None => Ok(default),
        Some("TLSv1" | "TLSv1.1" | "TLSv1.2") => Ok(2),
        Some("TLSv1.3") => Ok(3),
        Some(text) => Err(unknown(name, text)),
    };
    let minimum = version("ssl_min_protocol_version", 2)?;
    let maximum = version("ssl_max_protocol_version", 3)?;
    if minimum > maximum {
        return Err(PgError::parameter("ssl_min_protocol_version", "it is above the maximum"));
    }
    if let (Some(directory), true) = (&directory, mode >= SslMode::Require) {
        let list = directory.join("root.crl");
        if list.exists() {
            notes.push(format!("certificate revocation list {} is not used", list.display()));
        }
    }
    Ok(TlsParams {
        mode,
        direct,
        root,
        client,
        sni: values.get("sslsni") != Some("0"),
        allow_12: minimum == 2,
        allow_13: maximum == 3,
        channel_binding: match values.get("channel_binding") {
            None | Some("prefer") => ChannelBinding::Prefer,
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            Some(text) => return Err(unknown("channel_binding", text)),
        },
    })
}
