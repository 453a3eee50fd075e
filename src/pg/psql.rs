//! How somebody connects by hand to where we connect.

use super::options::{RootCert, SslMode};
use super::params::Params;

impl Params {
    /// Arguments that let `psql` connect to the same database as the same role. There is no
    /// password among them: psql asks for it, or finds it where libpq does.
    pub fn psql(&self) -> Vec<String> {
        let database = self.database();
        let plain = !database.contains('=') && !database.contains("://");
        match self.hosts.as_slice() {
            [host] if host.address.is_none() && self.tls.mode == SslMode::Prefer && plain => {
                let port = host.port.to_string();
                let words = ["-h", &host.name, "-p", &port, "-U", self.user(), "-d", database];
                words.map(ToOwned::to_owned).to_vec()
            }
            _ => vec!["-d".to_owned(), self.conninfo()],
        }
    }

    /// The same as libpq's `key=value` list.
    fn conninfo(&self) -> String {
        let joined = |part: &dyn Fn(&super::options::Host) -> String| {
            self.hosts.iter().map(part).collect::<Vec<_>>().join(",")
        };
        let mut pairs = vec![("host", joined(&|host| host.name.clone()))];
        if self.hosts.iter().any(|host| host.address.is_some()) {
            let address = |host: &super::options::Host| {
                host.address.map(|address| address.to_string()).unwrap_or_default()
            };
            pairs.push(("hostaddr", joined(&address)));
        }
        pairs.push(("port", joined(&|host| host.port.to_string())));
        pairs.push(("user", self.user().to_owned()));
        pairs.push(("dbname", self.database().to_owned()));
        if self.tls.mode != SslMode::Prefer {
            pairs.push(("sslmode", self.tls.mode.name().to_owned()));
            match &self.tls.root {
                RootCert::System => pairs.push(("sslrootcert", "system".to_owned())),
                RootCert::File(path) if path.exists() => {
                    pairs.push(("sslrootcert", path.display().to_string()));
                }
                RootCert::File(_) | RootCert::None => {}
            }
            if let Some(client) = self.tls.client.as_ref().filter(|client| client.cert.exists()) {
                pairs.push(("sslcert", client.cert.display().to_string()));
                pairs.push(("sslkey", client.key.display().to_string()));
            }
        }
        let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
        pairs.map(|(name, value)| format!("{name}={}", quoted(value))).collect::<Vec<_>>().join(" ")
    }
}

/// A value of the list.
fn quoted(value: &str) -> String {
    if !value.contains(|c: char| c.is_whitespace() || "'\\".contains(c)) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    //! Guards against statements that are run on another database than they were made for, and a
    //! password on a command line.

    use super::*;

    fn words(conn: &str) -> String {
        Params::resolve_apart(conn).unwrap().psql().join(" ")
    }

    #[test]
    fn they_lead_to_the_same_place() {
        assert_eq!(words("postgres://a:hunter2@db:5433/shop"), "-h db -p 5433 -U a -d shop");
        assert_eq!(
            words("host=/run/pg user=a dbname=shop password=hunter2"),
            "-h /run/pg -p 5432 -U a -d shop"
        );
        assert_eq!(
            words("postgres://a@x,y:7/shop?sslmode=require"),
            "-d host=x,y port=5432,7 user=a dbname=shop sslmode=require"
        );
        assert_eq!(
            words("hostaddr=10.0.0.1 user=a dbname='it\\'s = odd'"),
            "-d hostaddr=10.0.0.1 port=5432 user=a dbname='it\\'s = odd'"
        );
        assert_eq!(words("host=x user=a dbname='a=b'"), "-d host=x port=5432 user=a dbname=a=b");
    }
}
