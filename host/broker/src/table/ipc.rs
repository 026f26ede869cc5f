//! System V objects and message queues.

use super::{Row, deny, native, nr};
use rustix::io::Errno;

pub(super) const ROWS: &[Row] = &[
    native("shmget", nr(29, 194)),
    native("shmat", nr(30, 196)),
    native("shmctl", nr(31, 195)),
    native("shmdt", nr(67, 197)),
    native("semget", nr(64, 190)),
    native("semop", nr(65, 193)),
    native("semctl", nr(66, 191)),
    native("semtimedop", nr(220, 192)),
    native("msgget", nr(68, 186)),
    native("msgsnd", nr(69, 189)),
    native("msgrcv", nr(70, 188)),
    native("msgctl", nr(71, 187)),
    deny("mq_open", nr(240, 180), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_unlink", nr(241, 181), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_timedsend", nr(242, 182), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_timedreceive", nr(243, 183), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_notify", nr(244, 184), Errno::NOSYS, "queues are named in a space that steps share"),
    deny("mq_getsetattr", nr(245, 185), Errno::NOSYS, "queues are named in a space that steps share"),
];
