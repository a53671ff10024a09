//! What would happen to a packet: the evaluator on the live generation, an earlier one or a file
//! that is not applied, and the dataplane's word on links, neighbours and foreign hooks.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_control_api::{Basis, CandidateQuery, Explained, FlowState};
use sluice_policy::explain::{self, Live, NextHopState, PortFacts, Query};
use sluice_policy::{Policy, config};

use super::Answer;
use super::extract::{Body, Params};
use super::tables::state_name;
use crate::app::App;
use crate::error::ControlError;

/// Which policy is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainParams {
    /// The commit; left out, the live one.
    at: Option<u64>,
}

pub(super) async fn explain(
    State(app): State<App>,
    Params(params): Params<ExplainParams>,
    Body(query): Body<Query>,
) -> Answer<Explained> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    if let Some(at) = params.at.filter(|at| *at != generation) {
        let policy = app.policy_at(at).await?;
        let policy = &live.followed(&policy);
        let asked = Asked { policy, generation: at, basis: Basis::Commit, live: &live };
        return asked.answer(&query).map(Json);
    }
    let policy = &live.followed(policy);
    Asked { policy, generation, basis: Basis::Live, live: &live }.answer(&query).map(Json)
}

/// All questions are asked of one generation, one state of links and neighbours.
pub(super) async fn many(
    State(app): State<App>,
    Body(queries): Body<Vec<Query>>,
) -> Answer<Vec<Explained>> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let policy = &live.followed(policy);
    let asked = Asked { policy, generation, basis: Basis::Live, live: &live };
    let answers = queries.iter().enumerate().map(|(place, query)| {
        asked
            .answer(query)
            .map_err(|error| ControlError::Request(format!("question {place}: {error}")))
    });
    answers.collect::<Result<_, _>>().map(Json)
}

/// How a file is named.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateParams {
    /// Its name, for positions in the answer.
    file: Option<String>,
}

/// A question about a file that is not applied: what would happen if it were, now.
pub(super) async fn candidate(
    State(app): State<App>,
    Params(params): Params<CandidateParams>,
    Body(CandidateQuery { query, yaml }): Body<CandidateQuery>,
) -> Answer<Explained> {
    let live = live(&app).await?;
    let view = app.view();
    let (_, generation) = view.live()?;
    let running = view.head.clone();
    // A large file takes a while, and this thread has other requests to answer.
    let compiled = tokio::task::spawn_blocking(move || {
        let file = params.file.unwrap_or_else(|| "configuration".into());
        let configuration = config::read(yaml.as_bytes(), &file).map_err(ControlError::Config)?;
        let delta = running.towards(&configuration.state);
        running.policy.apply(&delta).map_err(|errors| {
            ControlError::Policy(errors.iter().map(ToString::to_string).collect())
        })
    });
    let policy = compiled.await.map_err(|_| ControlError::Stopping)??;
    let policy = &live.followed(&policy);
    let asked = Asked { policy, generation, basis: Basis::Candidate, live: &live };
    asked.answer(&query).map(Json)
}

/// What questions are asked of.
struct Asked<'a> {
    policy: &'a Policy,
    generation: u64,
    basis: Basis,
    live: &'a Live,
}

impl Asked<'_> {
    fn answer(&self, query: &Query) -> Result<Explained, ControlError> {
        let mut explanation = explain::explain(self.policy, self.live, query)
            .map_err(|error| ControlError::Request(error.to_string()))?;
        // What a commit is called goes before how many steps its policy took to compile.
        explanation.generation = self.generation;
        Ok(Explained { explanation, basis: self.basis, flow_state: FlowState::NoFlowTable })
    }
}

/// What the dataplane says of links, neighbours and foreign hooks.
async fn live(app: &App) -> Result<Live, ControlError> {
    let ports = links(app).await?.ports;
    let neighbours = app.neighbours().await?.into_iter().map(|neighbour| {
        let state = state_name(neighbour.state).to_owned();
        let key = (neighbour.interface, neighbour.address);
        (key, NextHopState { state, mac: neighbour.mac })
    });
    let hooks = app.hooks().await?;
    Ok(Live { ports, neighbours: neighbours.collect(), hooks })
}

/// The links alone.
pub(super) async fn links(app: &App) -> Result<Live, ControlError> {
    let ports =
        app.ports().await?.into_iter().map(|port| {
            (port.name, PortFacts { mac: port.mac, link: port.link, error: port.error })
        });
    Ok(Live { ports: ports.collect(), ..Live::default() })
}
