//! Decoding of `security.capability`; the transitions are tested with the other rules (credentials/tests.rs).

use super::*;

fn attribute(magic: u32, words: &[u32]) -> Vec<u8> {
    std::iter::once(&magic).chain(words).flat_map(|w| w.to_le_bytes()).collect()
}

#[test]
fn decodes_what_setcap_writes() {
    // setcap cap_net_raw=ep
    let value = attribute(0x0200_0001, &[1 << 13, 0, 0, 0]);
    let caps = FileCapabilities::decode(&value).unwrap().unwrap();
    assert_eq!(caps.permitted, CapabilitySet(1 << 13));
    assert_eq!(caps.inheritable, CapabilitySet::EMPTY);
    assert!(caps.effective);

    let high = attribute(0x0200_0000, &[0, 0, 1 << 8, 1]);
    let caps = FileCapabilities::decode(&high).unwrap().unwrap();
    assert_eq!((caps.permitted.0, caps.inheritable.0, caps.effective), (1 << 40, 1 << 32, false));
}

#[test]
fn an_attribute_of_another_user_namespace_does_not_count() {
    let foreign = attribute(0x0300_0001, &[1, 0, 0, 0, 100_000]);
    assert_eq!(FileCapabilities::decode(&foreign), Ok(None));
    let ours = attribute(0x0300_0001, &[1, 0, 0, 0, 0]);
    assert_eq!(FileCapabilities::decode(&ours).unwrap().unwrap().permitted, CapabilitySet(1));
}

#[test]
fn malformed_attributes_are_refused() {
    for value in [vec![], vec![1, 0, 0], attribute(0x0200_0001, &[1, 0]), attribute(0x0400_0000, &[0; 4])] {
        assert_eq!(FileCapabilities::decode(&value), Err(Errno::INVAL));
    }
}

#[test]
fn only_revisions_two_and_three_can_be_set() {
    assert!(FileCapabilities::may_be_set(&attribute(0x0200_0001, &[1, 0, 0, 0])));
    assert!(FileCapabilities::may_be_set(&attribute(0x0300_0000, &[1, 0, 0, 0, 0])));
    for value in [attribute(0x0100_0001, &[1, 0]), attribute(0x0200_0001, &[1; 5]), b"short".to_vec(), vec![]]
    {
        assert!(!FileCapabilities::may_be_set(&value));
    }
}
