//! Values as bytes, for two programs that were built together.
//!
//! Numbers are little-endian; text, lists and options carry their length first. There are no versions: the launcher is
//! embedded in the program that talks to it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// A value that travels.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the value off the front; nothing if there is none.
    fn take(input: &mut &[u8]) -> Option<Self>;
}

/// A value alone.
pub fn bytes(value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Makes a struct travel field by field.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, out);)+
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::wire::Wire::take(input)?;)+
                Some($name { $($field),+ })
            }
        }
    };
}
pub(crate) use wire_struct;

macro_rules! number {
    ($($name:ident),+) => {
        $(impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                let (head, rest) = input.split_first_chunk()?;
                *input = rest;
                Some($name::from_le_bytes(*head))
            }
        })+
    };
}
number!(u8, u32, i32, u64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        u8::take(input).map(|byte| byte != 0)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_slice(self.as_bytes(), out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        String::from_utf8(take_slice(input)?.to_vec()).ok()
    }
}

impl Wire for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        put_slice(self.as_os_str().as_bytes(), out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(OsString::from_vec(take_slice(input)?.to_vec()).into())
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        (self.as_secs(), self.subsec_nanos()).put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        let (seconds, nanoseconds): (u64, u32) = Wire::take(input)?;
        Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds.into()))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        (0..u64::take(input)?).map(|_| T::take(input)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        if bool::take(input)? {
            T::take(input).map(Some)
        } else {
            Some(None)
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some((A::take(input)?, B::take(input)?))
    }
}

fn put_slice(slice: &[u8], out: &mut Vec<u8>) {
    put_length(slice.len(), out);
    out.extend(slice);
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    u64::try_from(length).expect("a length fits 64 bits").put(out);
}

fn take_slice<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::take(input)?).ok()?;
    let (head, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Job, Limits, Mount, Network, Overlay, ResourceLimit, Source, Spec, User};

    #[test]
    fn a_job_comes_back_as_it_was() {
        let overlay = Overlay {
            lower: vec!["/a:b,c".into(), OsString::from_vec(b"/\xff".to_vec()).into()],
            upper: Some("/upper".into()),
            work: Some("/work".into()),
        };
        let mount = |source| Mount {
            target: "/t".into(),
            source,
            read_only: true,
        };
        let job = Job {
            spec: Spec {
                root: overlay.clone(),
                mounts: vec![
                    mount(Source::Bind("/b".into())),
                    mount(Source::Overlay(overlay.clone())),
                    mount(Source::Within(overlay, "x".into())),
                    mount(Source::Tmpfs { size: Some(4096) }),
                ],
                arguments: vec!["true".into(), String::new()],
                environment: vec!["A=ü".into()],
                user: User {
                    uid: 1,
                    gid: 2,
                    groups: vec![3],
                },
                hosts: vec![("1.2.3.4".into(), "name".into())],
                network: Network::Host,
                limits: Limits {
                    timeout: Some(Duration::from_millis(1500)),
                    memory: Some(u64::MAX),
                    nice: 19,
                    resources: vec![ResourceLimit {
                        name: "nofile".into(),
                        soft: 1,
                        hard: 2,
                    }],
                    ..Limits::default()
                },
                ..Spec::default()
            },
            resolv_conf: "nameserver 1.1.1.1\n".into(),
            filter: vec![1, 2],
            old_mounts: true,
            enter: true,
        };
        let bytes = bytes(&job);
        assert_eq!(Job::take(&mut &bytes[..]), Some(job));
        for end in 0..bytes.len() {
            assert_eq!(Job::take(&mut &bytes[..end]), None, "{end}");
        }
    }
}
