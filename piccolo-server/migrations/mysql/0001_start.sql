-- One row for each group and address family, so that the holders of one key and family lie in
-- address order and no scan meets the other family.
CREATE TABLE space (
    id     SMALLINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    grp    VARBINARY(64) NOT NULL,
    family TINYINT UNSIGNED NOT NULL,
    UNIQUE KEY space_by_group (grp, family)
) ENGINE = InnoDB;

CREATE TABLE node (
    space     SMALLINT UNSIGNED NOT NULL,
    holder    VARBINARY(18) NOT NULL,
    -- Milliseconds since the Unix epoch.
    seen      BIGINT NOT NULL,
    -- When this row was last written, and by which instance: how the others learn of it.
    stamp     BIGINT NOT NULL,
    writer    BIGINT NOT NULL,
    state     TINYINT UNSIGNED NOT NULL,
    epoch     BIGINT NULL,
    seq       BIGINT NULL,
    -- Number and sum of the node's key hashes; a set that has both is the set that is stored.
    held      INT UNSIGNED NOT NULL,
    digest    BINARY(16) NOT NULL,
    PRIMARY KEY (space, holder),
    KEY node_by_stamp (stamp, writer)
) ENGINE = InnoDB;

-- Rows of one key lie in the order of the holders' addresses.
CREATE TABLE holding (
    space    SMALLINT UNSIGNED NOT NULL,
    key_hash BINARY(16) NOT NULL,
    holder   VARBINARY(18) NOT NULL,
    PRIMARY KEY (space, key_hash, holder),
    KEY holding_by_holder (space, holder, key_hash)
) ENGINE = InnoDB;

-- Work that one instance does for all.
CREATE TABLE lease (
    name  VARBINARY(64) NOT NULL PRIMARY KEY,
    owner BIGINT NOT NULL,
    until BIGINT NOT NULL
) ENGINE = InnoDB;
