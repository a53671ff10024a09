//! What each subcommand does: one request, and the text to print.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_control_api::{
    Applied, DropCount, Explained, Flush, Interface, Neighbour, Pipeline, Port, Route, Rule, Stats,
    Status, Worker,
};
use sluice_policy::config;

use crate::args::{self, Apply, Cli, Command, Show};
use crate::client::{Client, with_query};
use crate::failed::Failed;
use crate::{check, explain, render, route, up};

/// Runs the command; what it prints when it succeeds.
pub(crate) async fn run(cli: Cli) -> Result<String, Failed> {
    let client = Client::new(&cli.appliance.directory());
    let json = cli.json;
    match cli.command {
        Command::Up(options) => up::run(&cli.appliance, &options).await.map(|()| String::new()),
        Command::Check { file } => {
            let configuration = check::read(&file)?;
            let summary = check::summary(&configuration);
            Ok(if json {
                "{}\n".into()
            } else {
                format!("{}: in order: {summary}\n", file.display())
            })
        }
        Command::Schema => Ok(pretty(&config::schema())),
        Command::Apply(options) => apply(&client, &options, json).await,
        Command::Show(what) => show(&client, what, json).await,
        Command::Route(args::Route::Add { prefix, target, instance, replace }) => {
            let wanted = route::add(&prefix, &target, instance.as_deref(), replace)?;
            let applied: Applied = client.post("/v1/routes", &wanted).await?;
            Ok(told(&applied, json))
        }
        Command::Route(args::Route::Del { prefix, instance }) => {
            let wanted = route::delete(&prefix, instance.as_deref())?;
            let query = [
                ("to", Some(wanted.to.to_string())),
                ("instance", wanted.instance.map(|name| name.to_string())),
            ];
            let applied: Applied = client.delete(&with_query("/v1/routes", &query)).await?;
            Ok(told(&applied, json))
        }
        Command::Neighbour(args::Neighbour::Flush { interface, address }) => {
            let flush = Flush { interface: interface.map(Into::into), address };
            let answer: serde_json::Value = client.post("/v1/neighbours/flush", &flush).await?;
            Ok(if json { pretty(&answer) } else { "flushed\n".into() })
        }
        Command::Explain(packet) => {
            let answer = explain::ask(&client, &packet).await?;
            print::<Explained>(answer, json, explain::text)
        }
    }
}

async fn apply(client: &Client, options: &Apply, json: bool) -> Result<String, Failed> {
    let (text, name) = check::bytes(&options.file)?;
    let query = [
        ("file", Some(name)),
        ("dry_run", options.dry_run.then(|| "true".into())),
        ("generation", options.generation.map(|generation| generation.to_string())),
    ];
    let applied: Applied = client.post_text(&with_query("/v1/apply", &query), text).await?;
    Ok(told(&applied, json))
}

/// What a change did: `+2 routes, -1 rule; generation 7`.
fn told(applied: &Applied, json: bool) -> String {
    if json {
        return pretty(applied);
    }
    let mut text = match applied.dry_run {
        true => format!("would be: {}; generation {} stays\n", applied.changes, applied.generation),
        false => format!("{}; generation {}\n", applied.changes, applied.generation),
    };
    for worker in &applied.waiting {
        text.push_str(&format!(
            "worker {worker} has not taken it over yet; it does before its next packet\n"
        ));
    }
    for note in &applied.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

async fn show(client: &Client, what: Show, json: bool) -> Result<String, Failed> {
    let path = match &what {
        Show::Status => "/v1/status".into(),
        Show::Ports => "/v1/ports".into(),
        Show::Interfaces => "/v1/interfaces".into(),
        Show::Routes { instance } => with_query("/v1/routes", &[("instance", instance.clone())]),
        Show::Neighbours => "/v1/neighbours".into(),
        Show::Rules { instance } => with_query("/v1/rules", &[("instance", instance.clone())]),
        Show::Drops { all } => with_query("/v1/drops", &[("all", all.then(|| "true".into()))]),
        Show::Stats => "/v1/stats".into(),
        Show::Pipeline => "/v1/pipeline".into(),
        Show::Workers => "/v1/workers".into(),
        Show::Config => "/v1/config".into(),
    };
    let answer: serde_json::Value = client.get(&path).await?;
    match what {
        Show::Status => print::<Status>(answer, json, render::status),
        Show::Ports => print::<Vec<Port>>(answer, json, |rows| render::ports(rows)),
        Show::Interfaces => print::<Vec<Interface>>(answer, json, |rows| render::interfaces(rows)),
        Show::Routes { .. } => print::<Vec<Route>>(answer, json, |rows| render::routes(rows)),
        Show::Neighbours => print::<Vec<Neighbour>>(answer, json, |rows| render::neighbours(rows)),
        Show::Rules { .. } => print::<Vec<Rule>>(answer, json, |rows| render::rules(rows)),
        Show::Drops { .. } => print::<Vec<DropCount>>(answer, json, |rows| render::drops(rows)),
        Show::Stats => print::<Stats>(answer, json, render::stats),
        Show::Pipeline => print::<Pipeline>(answer, json, render::pipeline),
        Show::Workers => print::<Vec<Worker>>(answer, json, |rows| render::workers(rows)),
        Show::Config => Ok(pretty(&answer)),
    }
}

/// The answer as it came, or drawn for people.
fn print<T: DeserializeOwned>(
    answer: serde_json::Value,
    json: bool,
    draw: impl FnOnce(&T) -> String,
) -> Result<String, Failed> {
    if json {
        return Ok(pretty(&answer));
    }
    serde_json::from_value(answer).map(|value| draw(&value)).map_err(Failed::Answer)
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_a_line() {
        let mut applied = Applied {
            generation: 7,
            dry_run: false,
            changes: Default::default(),
            waiting: Vec::new(),
            notes: Vec::new(),
            diff: None,
            confirm: None,
        };
        applied.changes.routes.added = 2;
        assert_eq!(told(&applied, false), "+2 routes; generation 7\n");
        applied.dry_run = true;
        assert_eq!(told(&applied, false), "would be: +2 routes; generation 7 stays\n");
        applied.waiting = vec![1];
        assert!(told(&applied, false).contains("worker 1"));
        assert!(told(&applied, true).starts_with('{'));
    }
}
