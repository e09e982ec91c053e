-- One row for each group and address family, so that the holders of one key and family lie in
-- address order and no scan meets the other family.
CREATE TABLE space (
    id     INTEGER PRIMARY KEY,
    grp    TEXT NOT NULL,
    family INTEGER NOT NULL,
    UNIQUE (grp, family)
) STRICT;

CREATE TABLE node (
    space     INTEGER NOT NULL,
    holder    BLOB NOT NULL,
    -- Milliseconds since the Unix epoch.
    seen      INTEGER NOT NULL,
    -- When this row was last written, and by which instance: how the others learn of it.
    stamp     INTEGER NOT NULL,
    writer    INTEGER NOT NULL,
    state     INTEGER NOT NULL,
    epoch     INTEGER,
    seq       INTEGER,
    -- Number and sum of the node's key hashes; a set that has both is the set that is stored.
    held      INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    PRIMARY KEY (space, holder)
) STRICT, WITHOUT ROWID;

CREATE INDEX node_by_stamp ON node (stamp, writer);

-- Rows of one key lie in the order of the holders' addresses.
CREATE TABLE holding (
    space    INTEGER NOT NULL,
    key_hash BLOB NOT NULL,
    holder   BLOB NOT NULL,
    PRIMARY KEY (space, key_hash, holder)
) STRICT, WITHOUT ROWID;

CREATE INDEX holding_by_holder ON holding (space, holder, key_hash);

-- Work that one instance does for all.
CREATE TABLE lease (
    name  TEXT PRIMARY KEY,
    owner INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
