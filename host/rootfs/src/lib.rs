//! A captured rootfs: its tree, its metadata records and its journal.
