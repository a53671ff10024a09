//! Looking at every instruction of a program before any of them runs.
//!
//! A program without loops is a graph without circles. Its instructions are visited once each, in an
//! order in which all that lead to one come before it; what is known at an instruction is what holds on
//! every way that leads there ([`state`]). So verifying takes time in proportion to the program's
//! length, whatever it looks like, and what is forgotten where ways meet can lead to a program that is
//! refused, never to one that is let through.

mod state;
#[cfg(test)]
mod tests;

use crate::error::{Problem, Refused};
use crate::helper::Helper;
use crate::instruction::{Instruction, decode};
use crate::{BRANCH_VISITS, CALL_STEPS, MAX_INSTRUCTIONS, MAX_STEPS, MAX_VISITS};

use state::State;

/// What a program makes use of: what it does not look at need not be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uses {
    /// Whether it reads what is known of the packet.
    pub facts: bool,
    /// So many bytes of [`View::data`](crate::View::data), from the first on, it may read or write.
    pub window: usize,
    /// Whether it may write some of them.
    pub changes: bool,
    /// The helpers that it may call, a bit each by their numbers.
    helpers: u16,
}

impl Uses {
    /// Whether it may call a helper.
    #[must_use]
    pub fn calls(&self, helper: Helper) -> bool {
        self.helpers >> helper.number() & 1 == 1
    }

    fn call(&mut self, helper: Helper) {
        self.helpers |= 1 << helper.number();
    }
}

/// Code that may run. There is no other way to one than [`verify`].
#[derive(Clone, Debug)]
pub struct Verified {
    code: Box<[[u8; 8]]>,
    uses: Uses,
    steps: u32,
}

impl Verified {
    /// The instructions as they are in the file.
    #[must_use]
    pub fn code(&self) -> &[[u8; 8]] {
        &self.code
    }

    /// What it makes use of.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// The steps of the longest way through it.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.steps
    }
}

/// Verifies the code of a section.
///
/// # Errors
/// The first instruction that may not be, and why; or that there are too many.
pub fn verify(code: &[u8]) -> Result<Verified, Refused> {
    let count = code.len() / 8;
    if count > MAX_INSTRUCTIONS {
        return Err(Refused::TooLong { count });
    }
    let instructions = decode(code).map_err(|(place, problem)| Refused::Instruction {
        place,
        text: String::new(),
        problem,
    })?;
    let refused = |(place, problem): (usize, Problem)| {
        let text = instructions.get(place).copied().flatten();
        let text = text.map_or_else(String::new, |instruction| instruction.to_string());
        Refused::Instruction { place, text, problem }
    };
    let order = order(&instructions).map_err(refused)?;
    let Walked { uses, longest, visits } = walk(&instructions, &order).map_err(refused)?;
    if longest > MAX_STEPS {
        return Err(Refused::TooSlow { steps: longest });
    }
    if visits > MAX_VISITS {
        return Err(Refused::TooManyWays { visits });
    }
    Ok(Verified { code: code.as_chunks().0.into(), uses, steps: longest })
}

/// Where an instruction leads to: what follows it, and where it jumps.
fn successors(place: usize, instruction: Instruction) -> [Option<usize>; 2] {
    let next = match instruction {
        Instruction::Constant { .. } => place + 2,
        _ => place + 1,
    };
    match instruction {
        Instruction::Exit => [None, None],
        Instruction::Jump { target } => [Some(target), None],
        Instruction::Branch { target, .. } => [Some(next), Some(target)],
        _ => [Some(next), None],
    }
}

/// The instructions in an order in which none leads to an earlier one.
fn order(instructions: &[Option<Instruction>]) -> Result<Vec<usize>, (usize, Problem)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Never,
        OnTheWay,
        Done,
    }
    let mut seen = vec![Seen::Never; instructions.len()];
    let mut done = Vec::with_capacity(instructions.len());
    // The way that led here, and what is still to be followed of each instruction on it.
    let mut way: Vec<(usize, [Option<usize>; 2])> = Vec::new();
    let mut from = 0;
    let mut entered = Some(0);
    loop {
        if let Some(place) = entered.take() {
            match (instructions.get(place), seen.get(place)) {
                (Some(Some(instruction)), Some(Seen::Never)) => {
                    seen[place] = Seen::OnTheWay;
                    way.push((place, successors(place, *instruction)));
                }
                (Some(Some(_)), Some(Seen::OnTheWay)) => return Err((from, Problem::Loop)),
                (Some(Some(_)), Some(Seen::Done)) => {}
                _ => return Err((from, Problem::End)),
            }
        }
        let Some((place, open)) = way.last_mut() else { break };
        from = *place;
        entered = open[0].take().or_else(|| open[1].take());
        if entered.is_none() {
            seen[from] = Seen::Done;
            done.push(from);
            way.pop();
        }
    }
    let left = |place: &usize| instructions[*place].is_some() && seen[*place] == Seen::Never;
    if let Some(place) = (0..instructions.len()).find(left) {
        return Err((place, Problem::Unreachable));
    }
    done.reverse();
    Ok(done)
}

/// What a walk through a program has found.
#[derive(Default)]
struct Walked {
    uses: Uses,
    /// The steps of the longest way.
    longest: u32,
    /// The instructions that are met when every way is gone by itself, branches as
    /// [`BRANCH_VISITS`].
    visits: u64,
}

/// Goes through the instructions with what is known at each.
fn walk(instructions: &[Option<Instruction>], order: &[usize]) -> Result<Walked, (usize, Problem)> {
    let mut known: Vec<Option<Box<State>>> = vec![None; instructions.len()];
    if let Some(first) = known.first_mut() {
        *first = Some(Box::new(State::at_first()));
    }
    let mut seen = Walked::default();
    for &place in order {
        let (Some(instruction), Some(mut state)) = (instructions[place], known[place].take())
        else {
            // Each has one that leads to it.
            return Err((place, Problem::Unreachable));
        };
        state.steps += match instruction {
            Instruction::Call { .. } => CALL_STEPS,
            _ => 1,
        };
        seen.longest = seen.longest.max(state.steps);
        let visit = match instruction {
            Instruction::Branch { .. } => BRANCH_VISITS,
            _ => 1,
        };
        seen.visits = seen.visits.saturating_add(state.ways.saturating_mul(visit));
        let [next, jump] = successors(place, instruction);
        let taken = match instruction {
            Instruction::Branch { test, left, right, .. } => {
                Some(state.branch(test, left, right).map_err(|problem| (place, problem))?)
            }
            _ => {
                state.step(instruction, &mut seen.uses).map_err(|problem| (place, problem))?;
                None
            }
        };
        let ways = [next.map(|next| (next, state)), jump.zip(taken)];
        for (target, state) in ways.into_iter().flatten() {
            match &mut known[target] {
                Some(there) => there.join(&state),
                none => *none = Some(state),
            }
        }
    }
    Ok(seen)
}
