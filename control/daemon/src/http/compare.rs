//! Which flows would fare otherwise by another policy: flows that are given, or the connections that
//! the workers remember. Links and neighbours are as they are now, for both policies.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sluice_channel::FlowStatus;
use sluice_control_api::{
    Candidate, CompareFlows, CompareLiveFlows, FlowChange, FlowWay, LiveFlowChange, LiveFlowChanges,
};
use sluice_policy::Policy;
use sluice_policy::explain::{self, ExplainError, Live, Query, Way};

use super::Answer;
use super::explain::{compile, live as ask_live};
use super::extract::Body;
use super::flows::checked;
use crate::app::App;
use crate::error::ControlError;
use crate::flows::{next_packet, told};

/// The most flows of one comparison.
const MOST_FLOWS: usize = 100_000;

/// Changes that are told if nothing is said about it.
const USUAL: usize = 1000;

/// Which of the flows would fare otherwise.
pub(super) async fn given(
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
    let compared = Compared::new(&app, from, to, candidate).await?;
    let changes = compared.work(move |compared| {
        let changes = queries.iter().enumerate().map(|(place, query)| {
            let change = compared
                .change(query)
                .map_err(|error| ControlError::Request(format!("flow {place}: {error}")))?;
            Ok(change.map(|(before, after)| FlowChange { place, before, after }))
        });
        changes.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
    });
    changes.await?.map(Json)
}

/// Which of the connections would.
pub(super) async fn live(
    State(app): State<App>,
    Body(wanted): Body<CompareLiveFlows>,
) -> Answer<LiveFlowChanges> {
    let CompareLiveFlows { flows, from, to, candidate, limit } = wanted;
    let filter = checked(&app, flows)?;
    let compared = Compared::new(&app, from, to, candidate).await?;
    let mut flows = Vec::new();
    let mut too_many = false;
    let complete = app.each_flow(&filter, |flow| match flows.len() < MOST_FLOWS {
        true => flows.push(flow),
        false => too_many = true,
    });
    let complete = complete.await? && !too_many;
    let limit = limit.unwrap_or(USUAL).min(MOST_FLOWS);
    let changes = compared.work(move |compared| compared.changes(flows, limit));
    Ok(Json(LiveFlowChanges { complete, ..changes.await? }))
}

/// Two policies, and what the dataplane knows.
struct Compared {
    before: Arc<Policy>,
    after: Arc<Policy>,
    live: Live,
}

impl Compared {
    async fn new(
        app: &App,
        from: Option<u64>,
        to: Option<u64>,
        candidate: Option<Candidate>,
    ) -> Result<Compared, ControlError> {
        let live = ask_live(app).await?;
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
        let [before, after] =
            [before, after].map(|policy| live.followed(&policy).into_owned().into());
        Ok(Compared { before, after, live })
    }

    /// Many flows take a while, and the thread that asks has other requests to answer.
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&Compared) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let worked = tokio::task::spawn_blocking(move || work(&self)).await;
        worked.map_err(|_| ControlError::Stopping)
    }

    /// What becomes of a packet by both, if it is not the same.
    fn change(&self, query: &Query) -> Result<Option<(FlowWay, FlowWay)>, ExplainError> {
        let of = |policy| explain::explain(policy, &self.live, query).map(|e| flow_way(e.way));
        let (before, after) = (of(&self.before)?, of(&self.after)?);
        let same = (&before.verdict, &before.egress, before.next_hop)
            == (&after.verdict, &after.egress, after.next_hop);
        Ok((!same).then_some((before, after)))
    }

    /// Of connections, both directions are compared. One that cannot be explained, since nobody
    /// knows where its packets come in, is left out.
    fn changes(&self, flows: Vec<FlowStatus>, limit: usize) -> LiveFlowChanges {
        let mut all =
            LiveFlowChanges { compared: flows.len() as u64, ..LiveFlowChanges::default() };
        for status in flows {
            for reply in [false, true] {
                let Some(query) = next_packet(&status, reply) else { continue };
                let Ok(Some((before, after))) = self.change(&query) else { continue };
                all.changed += 1;
                if all.changes.len() < limit {
                    let flow = told(status.clone());
                    all.changes.push(LiveFlowChange { flow, reply, before, after });
                }
            }
        }
        all
    }
}

fn flow_way(way: Way) -> FlowWay {
    let Way { verdict, egress, next_hop, rule, .. } = way;
    FlowWay { verdict, egress, next_hop, rule: rule.map(|rule| rule.name) }
}
