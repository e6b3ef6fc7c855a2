//! Which requests are spoken, and the shape that each must have.
//!
//! The message library reserves memory for as many elements as a request claims to have, so four bytes of garbage could
//! ask for hundreds of gigabytes and abort the process. Here a request is walked through before it is decoded: every
//! length lies within the frame, and the elements are really there.

use kafka_protocol::messages::ApiKey;

/// No request of an honest client has more elements in all its lists.
const MAX_ELEMENTS: usize = 100_000;

/// A request that is understood.
pub struct Api {
    /// Which.
    pub key: ApiKey,
    /// The versions that ApiVersions promises.
    pub announced: (i16, i16),
    /// The first version that can be decoded.
    pub first: i16,
    /// The first version with compact lengths and tagged fields.
    flexible: i16,
    fields: &'static [Field],
}

/// A field, in the versions that have it.
struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, maybe null.
    Text,
    /// Bytes or records, maybe null.
    Blob,
    /// A list of fixed-size elements.
    Fixeds(usize),
    /// A list of strings.
    Texts,
    /// A list of structs.
    List(&'static [Field]),
}
use Kind::{Blob, Fixed, Fixeds, List, Text, Texts};

const fn all(kind: Kind) -> Field {
    Field { from: 0, to: i16::MAX, kind }
}
const fn from(from: i16, kind: Kind) -> Field {
    Field { from, to: i16::MAX, kind }
}
const fn within(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

/// A right, or what rights are looked for by.
const ACL: &[Field] = &[all(Fixed(1)), all(Text), all(Fixed(1)), all(Text), all(Text), all(Fixed(2))];

/// All requests that are understood. A client takes the highest version that both sides know, so every maximum here is a
/// feature that need not exist: Produce 12+ and Fetch 13+ name topics by id, OffsetCommit and OffsetFetch 9+ and
/// FindCoordinator 5+ belong to newer groups and transactions. Metadata and ApiVersions begin at 0, with which old clients
/// probe. Produce is announced from 0 although it decodes from 3: with a higher minimum librdkafka 2.0 (Debian's kcat) sends
/// lz4, gzip and snappy uncompressed, without a word; nobody picks less than 7.
pub static APIS: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        announced: (0, 11),
        first: 3,
        flexible: 9,
        fields: &[
            from(3, Text),
            all(Fixed(6)),
            all(List(&[all(Text), all(List(&[all(Fixed(4)), all(Blob)]))])),
        ],
    },
    Api {
        key: ApiKey::Fetch,
        announced: (4, 12),
        first: 4,
        flexible: 12,
        fields: &[
            all(Fixed(17)),
            from(7, Fixed(8)),
            all(List(&[
                all(Text),
                all(List(&[
                    all(Fixed(4)),
                    from(9, Fixed(4)),
                    all(Fixed(8)),
                    from(12, Fixed(4)),
                    from(5, Fixed(8)),
                    all(Fixed(4)),
                ])),
            ])),
            from(7, List(&[all(Text), all(Fixeds(4))])),
            from(11, Text),
        ],
    },
    Api {
        key: ApiKey::ListOffsets,
        announced: (1, 8),
        first: 1,
        flexible: 6,
        fields: &[
            all(Fixed(4)),
            from(2, Fixed(1)),
            all(List(&[all(Text), all(List(&[all(Fixed(4)), from(4, Fixed(4)), all(Fixed(8))]))])),
        ],
    },
    Api {
        key: ApiKey::Metadata,
        announced: (0, 12),
        first: 0,
        flexible: 9,
        fields: &[
            all(List(&[from(10, Fixed(16)), all(Text)])),
            from(4, Fixed(1)),
            within(8, 10, Fixed(1)),
            from(8, Fixed(1)),
        ],
    },
    Api {
        key: ApiKey::OffsetCommit,
        announced: (2, 8),
        first: 2,
        flexible: 8,
        fields: &[
            all(Text),
            all(Fixed(4)),
            all(Text),
            from(7, Text),
            within(2, 4, Fixed(8)),
            all(List(&[all(Text), all(List(&[all(Fixed(12)), from(6, Fixed(4)), all(Text)]))])),
        ],
    },
    Api {
        key: ApiKey::OffsetFetch,
        announced: (1, 8),
        first: 1,
        flexible: 6,
        fields: &[
            within(0, 7, Text),
            within(0, 7, List(&[all(Text), all(Fixeds(4))])),
            from(8, List(&[all(Text), all(List(&[all(Text), all(Fixeds(4))]))])),
            from(7, Fixed(1)),
        ],
    },
    Api {
        key: ApiKey::FindCoordinator,
        announced: (0, 4),
        first: 0,
        flexible: 3,
        fields: &[within(0, 3, Text), from(1, Fixed(1)), from(4, Texts)],
    },
    Api {
        key: ApiKey::JoinGroup,
        announced: (0, 9),
        first: 0,
        flexible: 6,
        fields: &[
            all(Text),
            all(Fixed(4)),
            from(1, Fixed(4)),
            all(Text),
            from(5, Text),
            all(Text),
            all(List(&[all(Text), all(Blob)])),
            from(8, Text),
        ],
    },
    Api {
        key: ApiKey::Heartbeat,
        announced: (0, 4),
        first: 0,
        flexible: 4,
        fields: &[all(Text), all(Fixed(4)), all(Text), from(3, Text)],
    },
    Api {
        key: ApiKey::LeaveGroup,
        announced: (0, 5),
        first: 0,
        flexible: 4,
        fields: &[all(Text), within(0, 2, Text), from(3, List(&[all(Text), all(Text), from(5, Text)]))],
    },
    Api {
        key: ApiKey::SyncGroup,
        announced: (0, 5),
        first: 0,
        flexible: 4,
        fields: &[
            all(Text),
            all(Fixed(4)),
            all(Text),
            from(3, Text),
            from(5, Text),
            from(5, Text),
            all(List(&[all(Text), all(Blob)])),
        ],
    },
    Api {
        key: ApiKey::ApiVersions,
        announced: (0, 4),
        first: 0,
        flexible: 3,
        fields: &[from(3, Text), from(3, Text)],
    },
    // Version 0 would be followed by bytes without frames; it is announced because librdkafka 2.0 looks for it, and sends 1.
    Api { key: ApiKey::SaslHandshake, announced: (0, 1), first: 1, flexible: i16::MAX, fields: &[all(Text)] },
    Api { key: ApiKey::SaslAuthenticate, announced: (0, 2), first: 0, flexible: 2, fields: &[all(Blob)] },
    Api {
        key: ApiKey::CreateTopics,
        announced: (2, 7),
        first: 2,
        flexible: 5,
        fields: &[
            all(List(&[
                all(Text),
                all(Fixed(6)),
                all(List(&[all(Fixed(4)), all(Fixeds(4))])),
                all(List(&[all(Text), all(Text)])),
            ])),
            all(Fixed(5)),
        ],
    },
    Api {
        key: ApiKey::DeleteTopics,
        announced: (1, 6),
        first: 1,
        flexible: 4,
        fields: &[within(0, 5, Texts), from(6, List(&[all(Text), all(Fixed(16))])), all(Fixed(4))],
    },
    Api {
        key: ApiKey::CreatePartitions,
        announced: (0, 3),
        first: 0,
        flexible: 2,
        fields: &[all(List(&[all(Text), all(Fixed(4)), all(List(&[all(Fixeds(4))]))])), all(Fixed(5))],
    },
    Api {
        key: ApiKey::DeleteRecords,
        announced: (0, 2),
        first: 0,
        flexible: 2,
        fields: &[all(List(&[all(Text), all(List(&[all(Fixed(12))]))])), all(Fixed(4))],
    },
    Api {
        key: ApiKey::DescribeConfigs,
        announced: (1, 4),
        first: 1,
        flexible: 4,
        fields: &[all(List(&[all(Fixed(1)), all(Text), all(Texts)])), all(Fixed(1)), from(3, Fixed(1))],
    },
    Api {
        key: ApiKey::AlterConfigs,
        announced: (0, 2),
        first: 0,
        flexible: 2,
        fields: &[all(List(&[all(Fixed(1)), all(Text), all(List(&[all(Text), all(Text)]))])), all(Fixed(1))],
    },
    Api {
        key: ApiKey::IncrementalAlterConfigs,
        announced: (0, 1),
        first: 0,
        flexible: 1,
        fields: &[
            all(List(&[all(Fixed(1)), all(Text), all(List(&[all(Text), all(Fixed(1)), all(Text)]))])),
            all(Fixed(1)),
        ],
    },
    Api {
        key: ApiKey::ListGroups,
        announced: (0, 5),
        first: 0,
        flexible: 3,
        fields: &[from(4, Texts), from(5, Texts)],
    },
    Api {
        key: ApiKey::DescribeGroups,
        announced: (0, 5),
        first: 0,
        flexible: 5,
        fields: &[all(Texts), from(3, Fixed(1))],
    },
    Api { key: ApiKey::DeleteGroups, announced: (0, 2), first: 0, flexible: 2, fields: &[all(Texts)] },
    Api {
        key: ApiKey::OffsetDelete,
        announced: (0, 0),
        first: 0,
        flexible: i16::MAX,
        fields: &[all(Text), all(List(&[all(Text), all(Fixeds(4))]))],
    },
    Api {
        key: ApiKey::InitProducerId,
        announced: (0, 4),
        first: 0,
        flexible: 2,
        fields: &[all(Text), all(Fixed(4)), from(3, Fixed(10))],
    },
    // From 4 on the next two are for brokers and for a newer kind of transactions.
    Api {
        key: ApiKey::AddPartitionsToTxn,
        announced: (0, 3),
        first: 0,
        flexible: 3,
        fields: &[all(Text), all(Fixed(10)), all(List(&[all(Text), all(Fixeds(4))]))],
    },
    Api {
        key: ApiKey::AddOffsetsToTxn,
        announced: (0, 3),
        first: 0,
        flexible: 3,
        fields: &[all(Text), all(Fixed(10)), all(Text)],
    },
    Api {
        key: ApiKey::EndTxn,
        announced: (0, 3),
        first: 0,
        flexible: 3,
        fields: &[all(Text), all(Fixed(11))],
    },
    Api {
        key: ApiKey::TxnOffsetCommit,
        announced: (0, 3),
        first: 0,
        flexible: 3,
        fields: &[
            all(Text),
            all(Text),
            all(Fixed(10)),
            from(3, Fixed(4)),
            from(3, Text),
            from(3, Text),
            all(List(&[all(Text), all(List(&[all(Fixed(12)), from(2, Fixed(4)), all(Text)]))])),
        ],
    },
    Api {
        key: ApiKey::ListTransactions,
        announced: (0, 1),
        first: 0,
        flexible: 0,
        fields: &[all(Texts), all(Fixeds(8)), from(1, Fixed(8))],
    },
    Api {
        key: ApiKey::DescribeTransactions,
        announced: (0, 0),
        first: 0,
        flexible: 0,
        fields: &[all(Texts)],
    },
    Api {
        key: ApiKey::DescribeLogDirs,
        announced: (1, 4),
        first: 1,
        flexible: 2,
        fields: &[all(List(&[all(Text), all(Fixeds(4))]))],
    },
    Api {
        key: ApiKey::ListPartitionReassignments,
        announced: (0, 0),
        first: 0,
        flexible: 0,
        fields: &[all(Fixed(4)), all(List(&[all(Text), all(Fixeds(4))]))],
    },
    Api {
        key: ApiKey::DescribeAcls,
        announced: (1, 3),
        first: 1,
        flexible: 2,
        fields: &[all(Fixed(1)), all(Text), all(Fixed(1)), all(Text), all(Text), all(Fixed(2))],
    },
    Api { key: ApiKey::CreateAcls, announced: (1, 3), first: 1, flexible: 2, fields: &[all(List(ACL))] },
    Api { key: ApiKey::DeleteAcls, announced: (1, 3), first: 1, flexible: 2, fields: &[all(List(ACL))] },
    Api {
        key: ApiKey::DescribeCluster,
        announced: (0, 1),
        first: 0,
        flexible: 0,
        fields: &[all(Fixed(1)), from(1, Fixed(1))],
    },
];

/// The request of a key, if it is understood.
pub fn api(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|a| a.key as i16 == key)
}

impl Api {
    /// Whether the body of a request, after its header, has the shape of this version.
    pub fn fits(&self, version: i16, body: &[u8]) -> bool {
        let mut walk = Walk { rest: body, version, flexible: version >= self.flexible, elements: 0 };
        walk.fields(self.fields).is_some()
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        let version = self.version;
        for field in fields.iter().filter(|f| (f.from..=f.to).contains(&version)) {
            self.field(&field.kind)?;
        }
        self.tags()
    }

    fn field(&mut self, kind: &Kind) -> Option<()> {
        match kind {
            Fixed(n) => self.skip(*n),
            Text => {
                let n = if self.flexible { self.compact()? } else { i64::from(self.i16()?) };
                self.skip(usize::try_from(n.max(0)).ok()?)
            }
            Blob => {
                let n = self.count()?;
                self.skip(n)
            }
            Fixeds(size) => {
                let n = self.elements()?;
                self.skip(n.checked_mul(*size)?)
            }
            Texts => (0..self.elements()?).try_for_each(|_| self.field(&Text)),
            List(fields) => (0..self.elements()?).try_for_each(|_| self.fields(fields)),
        }
    }

    /// Fields that we do not know.
    fn tags(&mut self) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let n = self.varint()?;
            self.skip(n as usize)?;
        }
        Some(())
    }

    /// The length of a list, with all of a request counted together.
    fn elements(&mut self) -> Option<usize> {
        let n = self.count()?;
        self.elements = self.elements.checked_add(n).filter(|all| *all <= MAX_ELEMENTS)?;
        Some(n)
    }

    /// A length of four bytes or a compact one; null counts as 0.
    fn count(&mut self) -> Option<usize> {
        let n = if self.flexible { self.compact()? } else { i64::from(i32::from_be_bytes(self.take()?)) };
        usize::try_from(n.max(0)).ok()
    }

    /// One less than it says; -1 is null.
    fn compact(&mut self) -> Option<i64> {
        Some(i64::from(self.varint()?) - 1)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut n = 0;
        for shift in (0..35).step_by(7) {
            let [b] = self.take()?;
            n |= u32::from(b & 0x7f).checked_shl(shift)?;
            if b < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.rest = self.rest.get(n..)?;
        Some(())
    }
}
