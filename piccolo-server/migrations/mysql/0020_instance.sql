-- The instances that others may ask for what they decide: each writes its row again and again.
CREATE TABLE instance (
    id      BIGINT NOT NULL PRIMARY KEY,
    -- IP:PORT, under which the others reach its API.
    address VARBINARY(64) NOT NULL,
    -- What others say when they call it, so that it knows them from strangers.
    secret  BIGINT NOT NULL,
    -- Grows with each time that it writes: the others watch it change, and no clock is compared.
    beat    BIGINT NOT NULL
) ENGINE = InnoDB;
