//! A seccomp filter, assembled as a search tree over the numbers of system calls.
//!
//! A list of comparisons, as libraries write it, costs a step a millisecond when it is installed: the kernel tries the
//! filter on every number to find out which calls are always allowed. A tree costs a tenth.

use std::collections::BTreeMap;

/// What a call is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call is made.
    Allow,
    /// The call fails with this error.
    Refuse(u16),
    /// The call is made if one of the tests of its first argument passes; otherwise it fails with the error.
    When(Vec<Test>, u16),
}

/// A test of the lower half of a call's first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// It is this.
    Equal(u32),
    /// It is less than this.
    Below(u32),
    /// It has none of these bits.
    Without(u32),
}

/// Where things are in what a filter reads (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first argument, on machines that store it first; ours all do.
const ARGUMENT: u32 = 16;

/// Instructions: load a word, jump, jump if equal, if not less, if a bit is set, answer (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_NOT_LESS: u16 = 0x35;
const JUMP_BITS: u16 = 0x45;
const ANSWER: u16 = 0x06;

/// A filter for an architecture (`AUDIT_ARCH_…`): `starts` says from which number on an answer holds, and begins with 0.
///
/// Programs of another architecture are killed, for their numbers mean something else.
pub(crate) fn assemble(architecture: u32, starts: &BTreeMap<u32, Answer>) -> Vec<u64> {
    let segments: Vec<_> = starts.iter().collect();
    let mut program = vec![
        load(ARCHITECTURE),
        instruction(JUMP_EQUAL, 1, 0, architecture),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(tree(&segments));
    program
}

fn tree(segments: &[(&u32, &Answer)]) -> Vec<u64> {
    if let [(_, only)] = segments {
        return leaf(only);
    }
    let (left, right) = segments.split_at(segments.len() / 2);
    let (first_of_right, left, right) = (*right[0].0, tree(left), tree(right));
    let mut program = match u8::try_from(left.len()) {
        Ok(length) => vec![instruction(JUMP_NOT_LESS, length, 0, first_of_right)],
        // A condition jumps over 255 instructions at most.
        Err(_) => vec![
            instruction(JUMP_NOT_LESS, 0, 1, first_of_right),
            instruction(JUMP, 0, 0, u32::try_from(left.len()).expect("a filter is short")),
        ],
    };
    program.extend(left);
    program.extend(right);
    program
}

fn leaf(of: &Answer) -> Vec<u64> {
    match of {
        Answer::Allow => vec![answer(libc::SECCOMP_RET_ALLOW)],
        Answer::Refuse(error) => vec![refusal(*error)],
        Answer::When(tests, error) => {
            let mut program = vec![load(ARGUMENT)];
            for test in tests {
                program.push(match *test {
                    Test::Equal(value) => instruction(JUMP_EQUAL, 0, 1, value),
                    Test::Below(value) => instruction(JUMP_NOT_LESS, 1, 0, value),
                    Test::Without(bits) => instruction(JUMP_BITS, 1, 0, bits),
                });
                program.push(answer(libc::SECCOMP_RET_ALLOW));
            }
            program.push(refusal(*error));
            program
        }
    }
}

fn load(offset: u32) -> u64 {
    instruction(LOAD, 0, 0, offset)
}

fn answer(with: u32) -> u64 {
    instruction(ANSWER, 0, 0, with)
}

fn refusal(error: u16) -> u64 {
    answer(libc::SECCOMP_RET_ERRNO | u32::from(error))
}

/// An instruction as it lies in memory (`struct sock_filter`).
fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> u64 {
    let [a, b] = code.to_le_bytes();
    let [c, d, e, f] = operand.to_le_bytes();
    u64::from_le_bytes([a, b, if_true, if_false, c, d, e, f])
}

/// What the kernel would answer: for tests.
#[cfg(test)]
pub(crate) fn run(program: &[u64], architecture: u32, number: u32, argument: u32) -> u32 {
    let (mut at, mut word) = (0, 0);
    loop {
        let [a, b, if_true, if_false, c, d, e, f] = program[at].to_le_bytes();
        let operand = u32::from_le_bytes([c, d, e, f]);
        let jump = |condition: bool| usize::from(if condition { if_true } else { if_false });
        at += 1;
        match u16::from_le_bytes([a, b]) {
            LOAD if operand == ARCHITECTURE => word = architecture,
            LOAD if operand == NUMBER => word = number,
            LOAD => word = argument,
            JUMP => at += operand as usize,
            JUMP_EQUAL => at += jump(word == operand),
            JUMP_NOT_LESS => at += jump(word >= operand),
            JUMP_BITS => at += jump(word & operand != 0),
            _ => return operand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_finds_its_answer() {
        let when = Answer::When(vec![Test::Equal(7), Test::Below(3), Test::Without(!0b1000)], 5);
        // Long enough for jumps that a condition cannot make.
        let starts: BTreeMap<u32, Answer> = (0..900)
            .map(|number| {
                let answer = match number % 3 {
                    0 => Answer::Allow,
                    1 => Answer::Refuse(u16::try_from(number).expect("it is small")),
                    _ => when.clone(),
                };
                (number * 2, answer)
            })
            .collect();
        let program = assemble(1, &starts);
        for number in 0..1900 {
            let error = |error: u32| libc::SECCOMP_RET_ERRNO | error;
            let start = (number / 2).min(899);
            for argument in [0, 2, 3, 7, 8, 9] {
                let expected = match start % 3 {
                    0 => libc::SECCOMP_RET_ALLOW,
                    1 => error(start),
                    _ if [0, 2, 7, 8].contains(&argument) => libc::SECCOMP_RET_ALLOW,
                    _ => error(5),
                };
                assert_eq!(
                    run(&program, 1, number, argument),
                    expected,
                    "{number} {argument}"
                );
            }
        }
        assert_eq!(run(&program, 2, 0, 0), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
