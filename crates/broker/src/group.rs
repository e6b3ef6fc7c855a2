//! Consumer groups of the classic protocol: who is in, and who leads. The leader assigns partitions; the broker carries
//! metadata and assignments without looking into them. How far groups have read is in [`crate::state`], and durable.
//!
//! ```text
//!   Empty ── join ──► Joining ── all joined, or time is up ──► Syncing ── leader's assignment ──► Stable
//!                        ▲                                        │                                │
//!                        └──────────── join, leave, silence ──────┴────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    GroupId, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;

use crate::codes::{self, Code};

/// More groups than this are refused.
const MAX_GROUPS: usize = 10_000;
/// More members of one group are refused.
const MAX_MEMBERS: usize = 1_000;

/// All groups that have members.
#[derive(Default)]
pub struct Groups(Mutex<BTreeMap<String, Group>>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Empty,
    Joining,
    Syncing,
    Stable,
}

#[derive(Default)]
struct Group {
    phase: Phase,
    generation: i32,
    leader: String,
    /// `consumer`, for consumers.
    kind: StrBytes,
    /// The way of assigning that all members know.
    protocol: StrBytes,
    deadline: Option<Instant>,
    rebalance: Duration,
    members: BTreeMap<String, Member>,
}

struct Member {
    who: Who,
    instance: Option<StrBytes>,
    protocols: Vec<(StrBytes, Bytes)>,
    session: Duration,
    seen: Instant,
    assignment: Bytes,
    /// Waits for the others to join.
    join: Option<oneshot::Sender<JoinGroupResponse>>,
    /// Waits for the leader's assignment.
    sync: Option<oneshot::Sender<SyncGroupResponse>>,
}

/// A group in a list.
pub struct Listed {
    /// `consumer`, for consumers.
    pub kind: StrBytes,
    /// As Kafka calls it.
    pub state: &'static str,
    /// How many are in it.
    pub members: usize,
}

/// What a member's client says of itself, and where it is.
pub struct Who {
    pub client: StrBytes,
    pub host: StrBytes,
}

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// The library refuses to encode `None` where a version has no null: the protocol's name can be null from 7 on.
fn no_join(code: Code, member: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_name(Some(text("")))
        .with_member_id(text(member))
}

fn no_sync(code: Code) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code)
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass: silent members go, waiting ends.
    pub fn tick(&self) {
        let mut groups = self.lock();
        let now = Instant::now();
        groups.values_mut().for_each(|g| g.tick(now));
        groups.retain(|_, g| !g.members.is_empty());
    }

    /// A member joins, and waits until all have.
    pub async fn join(&self, request: JoinGroupRequest, version: i16, who: Who) -> JoinGroupResponse {
        let waiting = match self.begin_join(request, version, who) {
            Ok(waiting) => waiting,
            Err(answer) => return *answer,
        };
        waiting.await.unwrap_or_else(|_| no_join(codes::REBALANCE_IN_PROGRESS, ""))
    }

    fn begin_join(
        &self,
        request: JoinGroupRequest,
        version: i16,
        who: Who,
    ) -> Result<oneshot::Receiver<JoinGroupResponse>, Box<JoinGroupResponse>> {
        let refuse = |code, id: &str| Err(Box::new(no_join(code, id)));
        let mut groups = self.lock();
        if request.group_id.is_empty()
            || (groups.len() >= MAX_GROUPS && !groups.contains_key(request.group_id.as_str()))
        {
            return refuse(codes::INVALID_GROUP_ID, &request.member_id);
        }
        let mut id = request.member_id.to_string();
        if id.is_empty() {
            id = format!("member-{}", uuid::Uuid::new_v4());
            // A new member is told its name first and must come again with it, so that one that never hears leaves no ghost.
            if version >= 4 && request.group_instance_id.is_none() {
                return refuse(codes::MEMBER_ID_REQUIRED, &id);
            }
        }
        let group = groups.entry(request.group_id.to_string()).or_default();
        if let Some(instance) = &request.group_instance_id {
            // A member with a fixed name that comes back takes the place of its former self.
            group.members.retain(|other, m| *other == id || m.instance.as_ref() != Some(instance));
        }
        if !group.members.is_empty() && group.kind != request.protocol_type {
            return refuse(codes::INCONSISTENT_GROUP_PROTOCOL, &id);
        }
        if group.members.len() >= MAX_MEMBERS && !group.members.contains_key(&id) {
            return refuse(codes::INVALID_GROUP_ID, &id);
        }
        let millis = |n: i32| Duration::from_millis(u64::try_from(n).unwrap_or(0));
        let session = millis(request.session_timeout_ms);
        group.kind = request.protocol_type;
        group.rebalance = if version >= 1 { millis(request.rebalance_timeout_ms) } else { session };
        let (tell, waiting) = oneshot::channel();
        let member = Member {
            who,
            instance: request.group_instance_id,
            protocols: request.protocols.into_iter().map(|p| (p.name, p.metadata)).collect(),
            session,
            seen: Instant::now(),
            assignment: Bytes::new(),
            join: Some(tell),
            sync: None,
        };
        group.members.insert(id, member);
        if group.phase != Phase::Joining {
            group.rebalance();
        }
        group.try_join(Instant::now());
        Ok(waiting)
    }

    /// A member asks for its assignment; the leader brings all.
    pub async fn sync(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let waiting = {
            let mut groups = self.lock();
            let Some(group) = groups.get_mut(request.group_id.as_str()) else {
                return no_sync(codes::UNKNOWN_MEMBER_ID);
            };
            match group.check(&request.member_id, request.generation_id) {
                codes::NONE => group.begin_sync(request),
                code => return no_sync(code),
            }
        };
        match waiting {
            Ok(waiting) => waiting.await.unwrap_or_else(|_| no_sync(codes::REBALANCE_IN_PROGRESS)),
            Err(answer) => *answer,
        }
    }

    /// A sign of life.
    pub fn heartbeat(&self, group: &str, member: &str, generation: i32) -> Code {
        let mut groups = self.lock();
        let Some(group) = groups.get_mut(group) else { return codes::UNKNOWN_MEMBER_ID };
        match group.check(member, generation) {
            codes::NONE if group.phase == Phase::Joining => codes::REBALANCE_IN_PROGRESS,
            code => code,
        }
    }

    /// A member leaves.
    pub fn leave(&self, group: &str, member: &str) -> Code {
        let mut groups = self.lock();
        let left = groups.get_mut(group).is_some_and(|g| g.remove(member, Instant::now()));
        groups.retain(|_, g| !g.members.is_empty());
        if left { codes::NONE } else { codes::UNKNOWN_MEMBER_ID }
    }

    /// Whether a group has members.
    pub fn is_active(&self, group: &str) -> bool {
        self.lock().get(group).is_some_and(|g| !g.members.is_empty())
    }

    /// The groups that have members, by name.
    pub fn list(&self) -> BTreeMap<String, Listed> {
        let listed =
            |g: &Group| Listed { kind: g.kind.clone(), state: g.phase.name(), members: g.members.len() };
        self.lock().iter().map(|(name, g)| (name.clone(), listed(g))).collect()
    }

    /// A group as it is; none: it has no members.
    pub fn describe(&self, group: &str, version: i16) -> Option<DescribedGroup> {
        let groups = self.lock();
        let found = groups.get(group)?;
        let members = found.members.iter().map(|(id, m)| {
            let metadata = m.protocols.iter().find(|p| p.0 == found.protocol).map(|p| p.1.clone());
            let described = DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_client_id(m.who.client.clone())
                .with_client_host(m.who.host.clone())
                .with_member_metadata(metadata.unwrap_or_default())
                .with_member_assignment(m.assignment.clone());
            if version >= 4 { described.with_group_instance_id(m.instance.clone()) } else { described }
        });
        let described = DescribedGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_group_state(text(found.phase.name()))
            .with_protocol_type(found.kind.clone())
            .with_protocol_data(found.protocol.clone());
        Some(described.with_members(members.collect()))
    }

    /// Whether this member may say how far the group has read. Consumers that assign themselves have no name.
    pub fn may_commit(&self, group: &str, member: &str, generation: i32) -> Code {
        match self.lock().get_mut(group) {
            None if generation < 0 && member.is_empty() => codes::NONE,
            None => codes::UNKNOWN_MEMBER_ID,
            Some(group) => group.check(member, generation),
        }
    }
}

impl Phase {
    /// As Kafka calls it.
    fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Joining => "PreparingRebalance",
            Phase::Syncing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

impl Group {
    /// Calls all members to join anew.
    fn rebalance(&mut self) {
        for member in self.members.values_mut() {
            if let Some(tell) = member.sync.take() {
                let _ = tell.send(no_sync(codes::REBALANCE_IN_PROGRESS));
            }
        }
        self.phase = Phase::Joining;
        self.deadline = Some(Instant::now() + self.rebalance);
    }

    /// Begins a generation once all have joined, or without those that have not when time is up.
    fn try_join(&mut self, now: Instant) {
        let late = self.deadline.is_some_and(|d| now >= d);
        if self.phase != Phase::Joining || !(late || self.members.values().all(|m| m.join.is_some())) {
            return;
        }
        self.members.retain(|_, m| m.join.is_some());
        let Some(first) = self.members.keys().next() else {
            self.phase = Phase::Empty;
            return;
        };
        if !self.members.contains_key(&self.leader) {
            self.leader = first.clone();
        }
        // The first way of assigning of one member that all others know too.
        let known = |name: &StrBytes| self.members.values().all(|m| m.protocols.iter().any(|p| p.0 == *name));
        let mut names = self.members.values().flat_map(|m| m.protocols.iter().map(|p| &p.0));
        self.protocol = names.find(|name| known(name)).cloned().unwrap_or_default();
        self.generation += 1;
        self.phase = Phase::Syncing;
        self.deadline = Some(now + self.rebalance);
        let metadata = |m: &Member| m.protocols.iter().find(|p| p.0 == self.protocol).map(|p| p.1.clone());
        let all: Vec<_> = self
            .members
            .iter()
            .map(|(id, m)| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_group_instance_id(m.instance.clone())
                    .with_metadata(metadata(m).unwrap_or_default())
            })
            .collect();
        for (id, member) in &mut self.members {
            member.seen = now;
            let answer = JoinGroupResponse::default()
                .with_generation_id(self.generation)
                .with_protocol_type(Some(self.kind.clone()))
                .with_protocol_name(Some(self.protocol.clone()))
                .with_leader(text(&self.leader))
                .with_member_id(text(id))
                .with_members(if *id == self.leader { all.clone() } else { vec![] });
            if let Some(tell) = member.join.take() {
                let _ = tell.send(answer);
            }
        }
    }

    fn begin_sync(
        &mut self,
        request: SyncGroupRequest,
    ) -> Result<oneshot::Receiver<SyncGroupResponse>, Box<SyncGroupResponse>> {
        if matches!(self.phase, Phase::Empty | Phase::Joining) {
            return Err(Box::new(no_sync(codes::REBALANCE_IN_PROGRESS)));
        }
        let leads = self.leader == request.member_id.as_str();
        if leads && self.phase == Phase::Syncing {
            for assignment in request.assignments {
                if let Some(member) = self.members.get_mut(assignment.member_id.as_str()) {
                    member.assignment = assignment.assignment;
                }
            }
            self.phase = Phase::Stable;
            self.deadline = None;
        }
        let (tell, waiting) = oneshot::channel();
        if let Some(member) = self.members.get_mut(request.member_id.as_str()) {
            member.sync = Some(tell);
        }
        if self.phase == Phase::Stable {
            for member in self.members.values_mut() {
                if let Some(tell) = member.sync.take() {
                    let answer = SyncGroupResponse::default()
                        .with_protocol_type(Some(self.kind.clone()))
                        .with_protocol_name(Some(self.protocol.clone()))
                        .with_assignment(member.assignment.clone());
                    let _ = tell.send(answer);
                }
            }
        }
        Ok(waiting)
    }

    fn remove(&mut self, id: &str, now: Instant) -> bool {
        let gone = self.members.remove(id).is_some();
        if gone && self.members.is_empty() {
            self.phase = Phase::Empty;
        } else if gone {
            self.rebalance();
            self.try_join(now);
        }
        gone
    }

    fn tick(&mut self, now: Instant) {
        let silent = |m: &Member| m.join.is_none() && m.sync.is_none() && m.seen + m.session < now;
        let gone: Vec<_> = self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(&id, now);
        }
        // A leader that never brings its assignment.
        if self.phase == Phase::Syncing && self.deadline.is_some_and(|d| now >= d) {
            self.rebalance();
        }
        self.try_join(now);
    }

    /// Whether the member is in this generation; it is alive in any case.
    fn check(&mut self, member: &str, generation: i32) -> Code {
        if generation < 0 && member.is_empty() && self.members.is_empty() {
            return codes::NONE;
        }
        match self.members.get_mut(member) {
            None => codes::UNKNOWN_MEMBER_ID,
            Some(member) => {
                member.seen = Instant::now();
                if generation == self.generation { codes::NONE } else { codes::ILLEGAL_GENERATION }
            }
        }
    }
}
