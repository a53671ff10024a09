//! `sluice hook`: from the words of the command line to the request.

use std::collections::BTreeMap;
use std::path::Path;

use sluice_control_api::{Applied, HookProgram, LoadHook};
use sluice_policy::model::Name;
use sluice_policy::order::Hint;

use crate::args::{self, Hook};
use crate::client::{Client, with_query};
use crate::command::print;
use crate::failed::Failed;
use crate::{commits, render};

/// Does what the command says, and draws what came of it.
pub(crate) async fn run(client: &Client, command: Hook, json: bool) -> Result<String, Failed> {
    match command {
        Hook::Load(words) => {
            let mut query = commits::query(&words.how);
            query.push(("dry_run", words.dry_run.then(|| "true".into())));
            let answer = client.post(&with_query("/v1/hooks", &query), &load(&words)?).await?;
            print::<Applied>(answer, json, render::applied)
        }
        Hook::Unload { name, how } => {
            let mut query = commits::query(&how);
            query.push(("name", Some(name)));
            let answer = client.delete(&with_query("/v1/hooks", &query)).await?;
            print::<Applied>(answer, json, render::applied)
        }
        Hook::Programs => {
            let answer = client.get("/v1/hooks/programs").await?;
            print::<Vec<HookProgram>>(answer, json, |programs| render::programs(programs))
        }
    }
}

/// Reads what to load.
fn load(words: &args::LoadHook) -> Result<LoadHook, Failed> {
    let args::LoadHook { name, program, event, instance, protocol, settings, .. } = words;
    let order = match (&words.before, &words.after) {
        (Some(other), _) => Hint::Before(other.as_str().into()),
        (_, Some(other)) => Hint::After(other.as_str().into()),
        _ if words.first => Hint::First,
        _ if words.last => Hint::Last,
        _ => Hint::None,
    };
    let mut told: BTreeMap<Name, String> = BTreeMap::new();
    for (key, value) in settings {
        if told.insert(key.as_str().into(), value.clone()).is_some() {
            return Err(Failed::Usage(format!("`--set {key}` stands twice: give it once")));
        }
    }
    let program = match program.as_ref().unwrap_or(name) {
        program if is_file(program) => absolute(program)?,
        program => program.as_str().into(),
    };
    // One that is given as a file is named after it.
    let name = (!is_file(name)).then(|| name.as_str().into());
    Ok(LoadHook {
        name,
        program,
        event: *event,
        instance: instance.as_deref().map(Into::into),
        protocols: protocol.clone(),
        order,
        settings: told,
    })
}

/// Whether a word means a file: a path, or the name of a file that is here and could be no program's.
fn is_file(word: &str) -> bool {
    word.contains('/') || (word.contains('.') && Path::new(word).is_file())
}

/// The path for the dataplane, which works in another directory.
fn absolute(path: &str) -> Result<Name, Failed> {
    let unusable = |why: &str| Failed::Usage(format!("the path `{path}` {why}"));
    let absolute = std::path::absolute(path).map_err(|error| unusable(&error.to_string()))?;
    Ok(absolute.to_str().ok_or_else(|| unusable("is not UTF-8"))?.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use sluice_policy::{Event, Protocol};

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<LoadHook, Failed> {
        let words = ["sluice", "hook", "load"].into_iter().chain(line.split_whitespace());
        let command = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command;
        let Command::Hook(Hook::Load(words)) = command else { panic!("{command:?}") };
        load(&words)
    }

    #[test]
    fn every_form_is_read() {
        let short = parse("hundredth --event physical-in").unwrap();
        assert_eq!((short.name.as_deref(), &*short.program), (Some("hundredth"), "hundredth"));
        assert_eq!((short.event, &short.order), (Some(Event::PhysicalIn), &Hint::None));
        let long = parse(
            "tenth --program hundredth --event physical-out --instance blue --protocol inet \
             --protocol arp --after egress-filter --set every=10 --set label=a=b",
        )
        .unwrap();
        assert_eq!((long.name.as_deref(), &*long.program), (Some("tenth"), "hundredth"));
        assert_eq!(long.protocols, [Protocol::Inet, Protocol::Arp]);
        assert_eq!(long.order, Hint::After("egress-filter".into()));
        assert_eq!((&*long.settings["every"], &*long.settings["label"]), ("10", "a=b"));
        assert_eq!(parse("a --event forwarding --last").unwrap().order, Hint::Last);
        let file = parse("/x/y.so --event forwarding").unwrap();
        assert_eq!((file.name, &*file.program), (None, "/x/y.so"));
        let here = parse("mine --program ./y.so").unwrap();
        let expected = std::env::current_dir().unwrap().join("y.so");
        assert_eq!((here.name.as_deref(), Path::new(&*here.program)), (Some("mine"), &*expected));
        assert_eq!(here.event, None);
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let failed = parse("a --event forwarding --set x=1 --set x=2").unwrap_err();
        assert_eq!((failed.code(), failed.to_string().contains("`--set x`")), (2, true));
        for line in [
            "sluice hook load a --event pre-routing",
            "sluice hook load a --event forwarding --first --last",
            "sluice hook load a --event forwarding --set x",
            "sluice hook load a --event forwarding --protocol ipv4",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
