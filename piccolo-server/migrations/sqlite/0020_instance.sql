-- The instances that others may ask for what they decide: each writes its row again and again.
CREATE TABLE instance (
    id      INTEGER PRIMARY KEY,
    -- IP:PORT, under which the others reach its API.
    address TEXT NOT NULL,
    -- What others say when they call it, so that it knows them from strangers.
    secret  INTEGER NOT NULL,
    -- Grows with each time that it writes: the others watch it change, and no clock is compared.
    beat    INTEGER NOT NULL
) STRICT;
