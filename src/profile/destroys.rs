//! What a command line does to volumes, as far as its words say: a volume that is removed takes the
//! database in it along. Words of scripts that it runs are not looked into.

/// What a command is about to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// Nothing that is known of.
    None,
    /// The server will not run afterwards.
    Stops,
    /// Volumes are removed, or replaced by empty ones.
    Destroys(&'static str),
}

/// Programs that remove volumes when they are told to.
const PROGRAMS: [&str; 5] = ["docker", "docker-compose", "podman", "podman-compose", "nerdctl"];

/// Options of these programs that stand before what they are to do, and take a value.
const WITH_VALUE: [&str; 13] = [
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--project-directory",
    "--profile",
    "--env-file",
    "--context",
    "-c",
    "-H",
    "--host",
    "--config",
    "--log-level",
];

/// The worst of what the words of a command do; words for a shell are taken apart as it would.
pub fn effect(words: &[String]) -> Effect {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        // `sh -c 'docker compose down -v'`: one word, that is many.
        let split: Vec<String> = word
            .replace([';', '\n', '&', '|', '(', ')'], " ; ")
            .split_whitespace()
            .map(|part| part.trim_matches(['"', '\'']).to_owned())
            .collect();
        all.extend(split);
    }
    let mut worst = Effect::None;
    for (at, word) in all.iter().enumerate() {
        let program = word.rsplit('/').next().unwrap_or(word);
        if PROGRAMS.contains(&program) {
            let rest = all.get(at + 1..).unwrap_or_default();
            let end = rest.iter().position(|word| word == ";").unwrap_or(rest.len());
            worst = worst.max(of_program(program, rest.get(..end).unwrap_or(rest)));
        }
    }
    worst
}

fn of_program(program: &str, rest: &[String]) -> Effect {
    let mut verbs: Vec<&str> = Vec::new();
    if program.ends_with("compose") {
        verbs.push("compose");
    }
    let mut words = rest.iter().map(String::as_str);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        match word {
            // Only before the verb: behind `down`, -v is --volumes and takes no value.
            _ if WITH_VALUE.contains(&word) && verbs.iter().all(|verb| *verb == "compose") => {
                words.next();
            }
            _ if word.starts_with('-') => options.push(word),
            _ => verbs.push(word),
        }
    }
    let volumes = options.iter().any(|option| match option.strip_prefix("--") {
        Some(long) => long == "volumes" || long == "volumes=true" || long == "renew-anon-volumes",
        None => option.contains('v'),
    });
    let renews = options.iter().any(|option| match option.strip_prefix("--") {
        Some(long) => long == "renew-anon-volumes",
        None => option.contains('V'),
    });
    match verbs.as_slice() {
        ["compose", "down", ..] if volumes => {
            Effect::Destroys("it removes the volumes of the project")
        }
        ["compose" | "container", "rm", ..] | ["rm", ..] if volumes => {
            Effect::Destroys("it removes the container's anonymous volumes")
        }
        ["compose", "up", ..] if renews => {
            Effect::Destroys("it replaces anonymous volumes by empty ones")
        }
        ["volume", "rm" | "remove", ..] => Effect::Destroys("it removes volumes"),
        ["volume", "prune", ..] => Effect::Destroys("it removes volumes that no container uses"),
        ["system", "prune", ..] if volumes => {
            Effect::Destroys("it removes volumes that no container uses")
        }
        ["compose", "down" | "stop" | "kill" | "rm" | "pause", ..]
        | ["stop" | "kill" | "rm" | "pause", ..]
        | ["container", "stop" | "kill" | "rm" | "pause", ..] => Effect::Stops,
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    //! Guards against a volume that is removed by a spelling nobody thought of.

    use super::*;

    fn of(line: &str) -> Effect {
        effect(&line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_that_remove_volumes() {
        for line in [
            "docker compose down -v",
            "docker compose down --volumes",
            "docker compose -f docker-compose.yml -p shop down --remove-orphans -v",
            "docker-compose --file x.yml down -v",
            "sudo docker compose down -vt 5",
            "/usr/bin/docker volume rm shop_db",
            "docker volume remove shop_db",
            "docker volume prune -af",
            "podman volume rm x",
            "docker rm -fv shop-db-1",
            "docker rm --volumes shop-db-1",
            "docker container rm -v x",
            "docker compose rm -sfv db",
            "docker system prune --all --volumes",
            "docker compose up -d -V",
            "docker compose up --renew-anon-volumes",
            "docker --context prod compose down -v",
            "make stop && docker compose down -v",
        ] {
            assert!(matches!(of(line), Effect::Destroys(_)), "{line}");
        }
        let shell = ["sh", "-c", "cd deploy; docker compose -f 'a.yml' down -v; echo done"];
        assert!(matches!(effect(&shell.map(ToOwned::to_owned)), Effect::Destroys(_)));
        let quoted = ["bash", "-ec", "docker \"volume\" rm x"];
        assert!(matches!(effect(&quoted.map(ToOwned::to_owned)), Effect::Destroys(_)));
    }

    #[test]
    fn commands_that_do_not() {
        for line in
            ["docker compose down", "docker compose stop db", "docker stop x", "docker kill x"]
        {
            assert_eq!(of(line), Effect::Stops, "{line}");
        }
        for line in [
            "docker compose up -d",
            "docker compose restart db",
            "docker restart x",
            "docker run -v data:/x busybox",
            "docker compose exec db rm -v x",
            "docker volume ls",
            "docker system prune",
            "psql -v ON_ERROR_STOP=1 -f migrate.sql",
            "./migrate --volumes",
            "echo rm -v",
        ] {
            assert_eq!(of(line), Effect::None, "{line}");
        }
    }
}
