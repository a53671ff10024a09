//! What each subcommand does: one request, and the text to print.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_control_api::{
    DropCount, Explained, Flows, Flush, Hooks, Interface, Neighbour, Pipeline, PolicyRoute, Port,
    Route, Rule, Runtime, Stats, Status, Worker,
};
use sluice_policy::config;

use crate::args::{self, Cli, Command, Show};
use crate::client::{Client, with_query};
use crate::failed::Failed;
use crate::{
    capture, check, commits, explain, flows, hook, pages, questions, render, route, up, watch,
};

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
        Command::Schema { tests: false } => Ok(pretty(&config::schema())),
        Command::Schema { tests: true } => Ok(pretty(&config::questions_schema())),
        Command::Completions { shell } => Ok(pages::completions(shell)),
        Command::Man { directory } => {
            let pages = pages::write_manual(&directory)?;
            Ok(format!("{pages} pages in {}\n", directory.display()))
        }
        Command::Apply(options) => commits::apply(&client, &options, json).await,
        Command::Commits { limit } => commits::list(&client, limit, json).await,
        Command::Diff { from, to, flows: Some(Some(file)) } => {
            questions::compare_flows(&client, &file, &from, to, json).await
        }
        Command::Diff { from, to, flows: Some(None) } => {
            flows::compare(&client, &from, to, json).await
        }
        Command::Diff { from, to, flows: None } => commits::diff(&client, &from, to, json).await,
        Command::Rollback { to, dry_run, how } => {
            commits::rollback(&client, to, dry_run, &how, json).await
        }
        Command::Confirm => commits::confirm(&client, json).await,
        Command::Watch { drops } => watch::run(&client, drops, json).await.map(|()| String::new()),
        Command::Capture(wanted) => capture::run(&client, &wanted, json).await,
        Command::Flow(change) => flows::run(&client, change, json).await,
        Command::Show(what) => show(&client, what, json).await,
        Command::Route(change) => route::run(&client, change, json).await,
        Command::Hook(change) => hook::run(&client, change, json).await,
        Command::Neighbour(args::Neighbour::Flush { interface, address }) => {
            let flush = Flush { interface: interface.map(Into::into), address };
            let answer: serde_json::Value = client.post("/v1/neighbours/flush", &flush).await?;
            Ok(if json { pretty(&answer) } else { "flushed\n".into() })
        }
        Command::Source(asked) => questions::source(&client, &asked, json).await,
        Command::Test(asked) => questions::test(&client, &asked, json).await,
        Command::Explain(packet) => {
            let answer = explain::ask(&client, &packet).await?;
            print::<Explained>(answer, json, explain::text)
        }
    }
}

async fn show(client: &Client, what: Show, json: bool) -> Result<String, Failed> {
    let path = match &what {
        Show::Status => "/v1/status".into(),
        Show::Ports => "/v1/ports".into(),
        Show::Interfaces => "/v1/interfaces".into(),
        Show::Routes { instance } => with_query("/v1/routes", &[("instance", instance.clone())]),
        Show::Neighbours => "/v1/neighbours".into(),
        Show::Flows(shown) => flows::path(shown),
        Show::Rules { instance } => with_query("/v1/rules", &[("instance", instance.clone())]),
        Show::PolicyRoutes { instance } => {
            with_query("/v1/policy-routes", &[("instance", instance.clone())])
        }
        Show::Hooks { instance, event } => with_query(
            "/v1/hooks",
            &[("instance", instance.clone()), ("event", event.map(|event| event.key().to_owned()))],
        ),
        Show::Drops { all } => with_query("/v1/drops", &[("all", all.then(|| "true".into()))]),
        Show::Stats => "/v1/stats".into(),
        Show::Pipeline => "/v1/pipeline".into(),
        Show::Runtime { interval } => {
            let seconds = interval.map(|interval| interval.as_secs().to_string());
            with_query("/v1/runtime", &[("interval", seconds)])
        }
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
        Show::Flows(_) => print::<Flows>(answer, json, render::flows),
        Show::Rules { .. } => print::<Vec<Rule>>(answer, json, |rows| render::rules(rows)),
        Show::PolicyRoutes { .. } => {
            print::<Vec<PolicyRoute>>(answer, json, |rows| render::policy_routes(rows))
        }
        Show::Hooks { .. } => print::<Hooks>(answer, json, render::hooks),
        Show::Drops { .. } => print::<Vec<DropCount>>(answer, json, |rows| render::drops(rows)),
        Show::Stats => print::<Stats>(answer, json, render::stats),
        Show::Pipeline => print::<Pipeline>(answer, json, render::pipeline),
        Show::Runtime { .. } => print::<Runtime>(answer, json, render::runtime),
        Show::Workers => print::<Vec<Worker>>(answer, json, |rows| render::workers(rows)),
        Show::Config => Ok(pretty(&answer)),
    }
}

/// The answer as it came, or drawn for people.
pub(crate) fn print<T: DeserializeOwned>(
    answer: serde_json::Value,
    json: bool,
    draw: impl FnOnce(&T) -> String,
) -> Result<String, Failed> {
    if json {
        return Ok(pretty(&answer));
    }
    serde_json::from_value(answer).map(|value| draw(&value)).map_err(Failed::Answer)
}

pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
