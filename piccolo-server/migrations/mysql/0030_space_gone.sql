-- Groups that had no nodes for a while. Their numbers are given to new groups later, when no instance
-- remembers them any more.
CREATE TABLE space_gone (
    id    SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
    -- Milliseconds since the Unix epoch.
    since BIGINT NOT NULL
) ENGINE = InnoDB;
