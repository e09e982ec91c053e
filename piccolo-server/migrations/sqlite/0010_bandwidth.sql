-- What each instance has learned of the bandwidth from one rack to another, as sums that are worth
-- half after a half-life from their stamp on.
CREATE TABLE bandwidth (
    -- A prefix, or # and 16 digits for a rack of the topology file.
    from_rack TEXT NOT NULL,
    to_rack   TEXT NOT NULL,
    writer    INTEGER NOT NULL,
    -- Milliseconds since the Unix epoch.
    stamp     INTEGER NOT NULL,
    -- Millionths of a sample, and of a sample times the logarithm of its rate.
    weight    INTEGER NOT NULL,
    log_rate  INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    busy_us   INTEGER NOT NULL,
    PRIMARY KEY (to_rack, from_rack, writer)
) STRICT, WITHOUT ROWID;
