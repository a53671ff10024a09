//! What would happen to a packet: the evaluator on the live generation, an earlier one or a file
//! that is not applied, and the dataplane's word on links, neighbours and foreign hooks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{HookOrigin, HookState, HookStatus};
use sluice_control_api::{
    Basis, Candidate, CandidateQuery, CompareFlows, Explained, FlowChange, FlowState, FlowWay,
};
use sluice_policy::explain::{self, Live, NextHopState, PortFacts, Query, RouteQuery, Routed, Way};
use sluice_policy::{Policy, config};

use super::Answer;
use super::extract::{Body, Params};
use super::tables::state_name;
use crate::app::App;
use crate::error::ControlError;
use crate::head::Head;

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

/// Where a packet would be routed; filters are not asked.
pub(super) async fn route(
    State(app): State<App>,
    Params(params): Params<ExplainParams>,
    Body(query): Body<RouteQuery>,
) -> Answer<Routed> {
    let live = live(&app).await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let routed = match params.at.filter(|at| *at != generation) {
        Some(at) => explain::route(&live.followed(&*app.policy_at(at).await?), &live, &query),
        None => explain::route(&live.followed(policy), &live, &query),
    };
    let routed = routed.map_err(|error| ControlError::Request(error.to_string()))?;
    Ok(Json(Routed { generation: params.at.unwrap_or(generation), ..routed }))
}

/// The most flows of one comparison.
const MOST_FLOWS: usize = 100_000;

/// Which of the flows would fare otherwise by another policy. Links and neighbours are as they are
/// now, for both.
pub(super) async fn compare(
    State(app): State<App>,
    Body(wanted): Body<CompareFlows>,
) -> Answer<Vec<FlowChange>> {
    let CompareFlows { queries, from, to, candidate } = wanted;
    if queries.len() > MOST_FLOWS {
        return Err(ControlError::Request(format!(
            "{} flows at once are too many: at most {MOST_FLOWS}",
            queries.len()
        )));
    }
    let live = live(&app).await?;
    let view = app.view();
    let (policy, _) = view.live()?;
    let policy = Arc::new(policy.clone());
    let before = match from {
        Some(at) => app.policy_at(at).await?,
        None => Arc::clone(&policy),
    };
    let after = match (to, candidate) {
        (Some(_), Some(_)) => {
            return Err(ControlError::Request(
                "give either `to` or `candidate`: flows are compared by two policies".into(),
            ));
        }
        (Some(at), None) => app.policy_at(at).await?,
        (None, Some(Candidate { file, yaml })) => {
            Arc::new(compile(view.head.clone(), file, yaml).await?)
        }
        (None, None) => policy,
    };
    // Many flows take a while, and this thread has other requests to answer.
    let compared = tokio::task::spawn_blocking(move || {
        let (before, after) = (live.followed(&before), live.followed(&after));
        let changes = queries.iter().enumerate().map(|(place, query)| {
            let of = |policy: &Policy| match explain::explain(policy, &live, query) {
                Ok(explanation) => Ok(flow_way(explanation.way)),
                Err(error) => Err(ControlError::Request(format!("flow {place}: {error}"))),
            };
            let (before, after) = (of(&before)?, of(&after)?);
            let same = (&before.verdict, &before.egress, before.next_hop)
                == (&after.verdict, &after.egress, after.next_hop);
            Ok((!same).then_some(FlowChange { place, before, after }))
        });
        changes.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
    });
    compared.await.map_err(|_| ControlError::Stopping)?.map(Json)
}

fn flow_way(way: Way) -> FlowWay {
    let Way { verdict, egress, next_hop, rule, .. } = way;
    FlowWay { verdict, egress, next_hop, rule: rule.map(|rule| rule.name) }
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
    let file = params.file.unwrap_or_else(|| "configuration".into());
    let policy = compile(view.head.clone(), file, yaml).await?;
    let policy = &live.followed(&policy);
    let asked = Asked { policy, generation, basis: Basis::Candidate, live: &live };
    asked.answer(&query).map(Json)
}

/// What would run if a file were applied.
async fn compile(running: Head, file: String, yaml: String) -> Result<Policy, ControlError> {
    // A large file takes a while, and this thread has other requests to answer.
    let compiled = tokio::task::spawn_blocking(move || {
        let configuration = config::read(yaml.as_bytes(), &file).map_err(ControlError::Config)?;
        let delta = running.towards(&configuration.state);
        running.policy.apply(&delta).map_err(|errors| {
            ControlError::Policy(errors.iter().map(ToString::to_string).collect())
        })
    });
    compiled.await.map_err(|_| ControlError::Stopping)?
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
    let neighbours = neighbours.collect();
    let mut live = Live { ports, neighbours, ..Live::default() };
    for HookStatus { hook, origin, state, .. } in app.hooks().await?.hooks {
        match (origin, state == HookState::Running) {
            // The policy that is asked knows those that are part of the desired state.
            (HookOrigin::Configured, false) => {
                live.taken_out.insert(hook.name);
            }
            (HookOrigin::Configured, true) | (_, false) => {}
            (_, true) => live.hooks.push(hook),
        }
    }
    Ok(live)
}

/// The links alone.
pub(super) async fn links(app: &App) -> Result<Live, ControlError> {
    let ports =
        app.ports().await?.into_iter().map(|port| {
            (port.name, PortFacts { mac: port.mac, link: port.link, error: port.error })
        });
    Ok(Live { ports: ports.collect(), ..Live::default() })
}
