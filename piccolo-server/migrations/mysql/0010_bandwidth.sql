-- What each instance has learned of the bandwidth from one rack to another, as sums that are worth
-- half after a half-life from their stamp on.
CREATE TABLE bandwidth (
    -- A prefix, or # and 16 digits for a rack of the topology file.
    from_rack VARBINARY(64) NOT NULL,
    to_rack   VARBINARY(64) NOT NULL,
    writer    BIGINT NOT NULL,
    -- Milliseconds since the Unix epoch.
    stamp     BIGINT NOT NULL,
    -- Millionths of a sample, and of a sample times the logarithm of its rate.
    weight    BIGINT NOT NULL,
    log_rate  BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    busy_us   BIGINT NOT NULL,
    PRIMARY KEY (to_rack, from_rack, writer)
) ENGINE = InnoDB;
