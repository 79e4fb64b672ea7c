-- Version 1 of what a countroom store keeps. An unsigned number of the ledger is a bigint: none grows that far.
CREATE TABLE countroom.head (
	single boolean PRIMARY KEY DEFAULT true CHECK (single),
	term  bigint NOT NULL,
	size  bigint NOT NULL,
	root  bytea  NOT NULL,
	at    bigint NOT NULL, -- Unix time in nanoseconds
	folds bigint NOT NULL  -- version of the current rows
);
INSERT INTO countroom.head (term, size, root, at, folds) VALUES (0, 0, decode(repeat('00', 32), 'hex'), 0, 0);

-- Written and waited for to know that all that was written before is durable, here and on the standbys.
CREATE TABLE countroom.fence (single boolean PRIMARY KEY DEFAULT true CHECK (single), n bigint NOT NULL);
INSERT INTO countroom.fence (n) VALUES (0);

CREATE TABLE countroom.checkpoint (single boolean PRIMARY KEY DEFAULT true CHECK (single), checkpoint bytea);
INSERT INTO countroom.checkpoint (checkpoint) VALUES (NULL);

CREATE TABLE countroom.leaves (index bigint PRIMARY KEY, leaf bytea NOT NULL);
ALTER TABLE countroom.leaves ALTER COLUMN leaf SET STORAGE EXTERNAL;

CREATE TABLE countroom.tiles (level smallint, index bigint, data bytea NOT NULL, PRIMARY KEY (level, index));
ALTER TABLE countroom.tiles ALTER COLUMN data SET STORAGE EXTERNAL;

-- Rows change often and their keys never do: with room in a page the new version stays there and no index is touched.
CREATE TABLE countroom.rows (folds bigint, key bytea, value bytea NOT NULL, PRIMARY KEY (folds, key)) WITH (fillfactor = 70);
CREATE TABLE countroom.vault (key bytea PRIMARY KEY, value bytea NOT NULL);

CREATE TABLE countroom.index_rows (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE countroom.index_cursor (single boolean PRIMARY KEY DEFAULT true CHECK (single), next bigint NOT NULL);
INSERT INTO countroom.index_cursor (next) VALUES (0);

-- For those who read the log with SQL. The leaf itself, byte for byte, is in leaves.
CREATE VIEW countroom.entries AS SELECT index, convert_from(leaf, 'UTF8')::jsonb AS entry FROM countroom.leaves;

-- Moves the head by compare-and-swap. An UPDATE of no row would not end a pipelined transaction; this does.
CREATE FUNCTION countroom.move_head(
	prev_term bigint, prev_size bigint, prev_root bytea, prev_at bigint, prev_folds bigint,
	next_term bigint, next_size bigint, next_root bytea, next_at bigint, next_folds bigint, replicated boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
		RAISE EXCEPTION 'synchronous_commit is %, expected on or remote_apply', current_setting('synchronous_commit') USING ERRCODE = 'CR002';
	END IF;
	IF replicated AND current_setting('synchronous_standby_names') = '' THEN
		RAISE EXCEPTION 'synchronous_standby_names is empty, and the store was opened to be replicated' USING ERRCODE = 'CR002';
	END IF;
	UPDATE countroom.head SET term = next_term, size = next_size, root = next_root, at = next_at, folds = next_folds
		WHERE term = prev_term AND size = prev_size AND root = prev_root AND at = prev_at AND folds = prev_folds;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the head has moved' USING ERRCODE = 'CR001';
	END IF;
END $$;

-- Moves the cursor of the indexes, which does not fall.
CREATE FUNCTION countroom.move_cursor(upto bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE countroom.index_cursor SET next = upto WHERE next <= upto;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the cursor would fall' USING ERRCODE = 'CR001';
	END IF;
END $$;
