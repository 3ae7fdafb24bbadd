-- The four hot verbs (add_jobs, claim, move, heartbeat): one statement for a whole batch, its requests as arrays, and no
-- transaction around it, so that a batch is one round trip. Registrations, which may all come at once, are batches of two
-- statements. SQLite's file of this name has small steps instead; the names in these two files differ by design.
-- These statements are planned once for all batches and all sizes of the tables, so their shapes leave the planner no
-- choice: a row is looked up in LATERAL, by an index, and an UPDATE finds it again by its `ctid`. So a row that a rival has
-- changed since the statement began is not changed: what follows from the change hangs on its RETURNING, and the caller
-- looks again. (It also keeps the events of a job in their order: whoever changed it before drew its number before.)

-- name: now
SELECT now_ms()

-- name: durability
-- Whether a commit is on the disk when it is answered, for how many connections there is room, and who else has it.
SELECT current_setting('synchronous_commit'),
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int,
  current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)

-- name: add_jobs
-- The block put in gives `accepted`: those of the jobs asked for that are new, each with its number. Tenants with limits are
-- locked before anything else is, in one order, and then seen as they are now; `refused` are those jobs for which they have no
-- room. `turn` counts the jobs of a tenant in a line of this batch, from 0.
WITH asked AS MATERIALIZED (
  SELECT u.*, (SELECT now_ms()) AS now
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::float8[],
    $10::text[], $11::bigint[], $12::text[], $13::int[], $14::bigint[], $15::text[], $16::text[], $17::text[], $18::bool[],
    $19::int[])
  WITH ORDINALITY AS u (id, tenant, queue, priority, classification, labels, profile, max_retries, timeout_s,
    state, due_at, spec, class_id, head_start_ms, actor, key, body_digest, keeps, turn, ord)),
limited AS MATERIALIZED (
  SELECT n.*, n.now / 86400000 AS today, CASE WHEN n.day = n.now / 86400000 THEN n.accepted ELSE 0 END AS accepted_today
  FROM (
    SELECT t.*, (SELECT now_ms()) AS now FROM tenants t
    WHERE t.name = ANY (ARRAY(SELECT DISTINCT tenant FROM asked)) ORDER BY t.name FOR UPDATE) n),
{accepted},
new_jobs AS (
  INSERT INTO jobs (number, id, tenant, queue, priority, classification, labels, profile, max_retries, timeout_s, created_at)
  SELECT number, id, tenant, queue, priority, classification, labels::jsonb, profile, max_retries, timeout_s, now
  FROM accepted),
new_specs AS (INSERT INTO job_specs (job, spec) SELECT number, spec FROM accepted),
new_tasks AS (
  INSERT INTO tasks (job, position, class_id, rank, line, lane, max_retries, state, queued_at, due_at, job_due_at)
  SELECT number, 1, class_id, rank, CASE WHEN opens THEN head_start_ms END,
    coalesce((SELECT name FROM limited WHERE name = tenant AND max_concurrent IS NOT NULL), ''), max_retries, state,
    CASE WHEN state = 'queued' THEN now END, due_at, due_at
  FROM placed),
kept_turns AS (
  INSERT INTO turns (class_id, line, tenant, rank, taken)
  SELECT DISTINCT ON (class_id, head_start_ms, whose) class_id, head_start_ms, whose, last, taken FROM (
    SELECT class_id, head_start_ms, lead AS whose, newest AS last, 1 AS taken FROM placed WHERE lead <> tenant AND opens
    UNION ALL
    SELECT class_id, head_start_ms, tenant, rank, taken FROM placed WHERE (lead <> tenant AND NOT opens) OR weight > 1) t
  ORDER BY class_id, head_start_ms, whose, last DESC, taken DESC
  ON CONFLICT (class_id, line, tenant) DO UPDATE SET rank = greatest(turns.rank, excluded.rank),
    taken = CASE WHEN turns.rank < excluded.rank THEN excluded.taken
      WHEN turns.rank = excluded.rank THEN greatest(turns.taken, excluded.taken) ELSE turns.taken END),
counts AS MATERIALIZED (
  SELECT l.name, l.today, count(*) AS jobs FROM limited l CROSS JOIN accepted a WHERE a.tenant = l.name GROUP BY l.name, l.today),
counted AS (
  UPDATE tenants n SET queued = n.queued + c.jobs, day = c.today,
    accepted = CASE WHEN n.day = c.today THEN n.accepted ELSE 0 END + c.jobs
  FROM counts c WHERE n.name = ANY (ARRAY(SELECT name FROM counts)) AND n.name = c.name),
noted AS (
  INSERT INTO transitions (seq, xid, job, position, source, target, at, reason, attempt, actor)
  OVERRIDING SYSTEM VALUE
  SELECT seq, xid, number, 1, NULL, state, now, $20, 0, actor FROM accepted)
SELECT ord, number, now, xid::text || '-' || seq, NULL AS max_concurrent, NULL AS max_queued, NULL AS max_per_day,
  NULL AS max_storage, NULL AS queued, NULL AS accepted_today, NULL AS stored FROM accepted
UNION ALL
SELECT r.ord, NULL, r.now, NULL, l.max_concurrent, l.max_queued, l.max_per_day, l.max_storage, l.queued, l.accepted_today, l.stored
FROM refused r CROSS JOIN limited l WHERE l.name = r.tenant

-- name: refused
-- Jobs beyond what their tenant has room for; one that keeps files takes no room where there is none for files.
refused AS MATERIALIZED (
  SELECT ord, tenant, now FROM (
    SELECT a.ord, a.tenant, a.now, a.keeps AND coalesce(l.stored >= l.max_storage, false) AS full,
      least(l.max_queued - l.queued, l.max_per_day - l.accepted_today) AS room,
      row_number() OVER (
        PARTITION BY l.name, a.keeps AND coalesce(l.stored >= l.max_storage, false) ORDER BY a.ord) AS place
    FROM limited l CROSS JOIN {asked} a WHERE a.tenant = l.name) p
  WHERE p.full OR p.place > p.room)

-- name: placed
-- The same as domain/turns.py, for a batch: who comes after the newest turn opens turns, in any other case takes those that
-- follow its last, after what is `left` to it of that. {ahead_ms} is how far ahead of its time a turn may lie.
lines AS MATERIALIZED (
  SELECT a.tenant, a.class_id, a.head_start_ms, n.newest, n.lead, w.weight, u.rank AS last, u.taken,
    CASE WHEN u.taken < w.weight AND (n.lead <> a.tenant OR u.rank = n.newest) AND EXISTS (
      SELECT FROM tasks t
      WHERE t.state = 'queued' AND t.class_id = a.class_id AND t.line = a.head_start_ms AND t.rank = u.rank)
    THEN w.weight - u.taken ELSE 0 END AS left,
    CASE WHEN n.lead <> a.tenant THEN ARRAY(
      SELECT t.rank FROM tasks t
      WHERE t.state = 'queued' AND t.class_id = a.class_id AND t.line = a.head_start_ms
        AND t.rank > coalesce(u.rank, -9223372036854775808)
      GROUP BY t.rank ORDER BY t.rank LIMIT (SELECT count(*) FROM asked)) ELSE ARRAY[]::bigint[] END AS turns
  FROM asked a
  CROSS JOIN LATERAL (SELECT coalesce((SELECT weight FROM limited WHERE name = a.tenant), 1) AS weight OFFSET 0) w
  LEFT JOIN LATERAL (
    SELECT t.rank AS newest, j.tenant AS lead FROM tasks t CROSS JOIN LATERAL (
      SELECT tenant FROM jobs WHERE number = t.job LIMIT 1) j
    WHERE t.state = 'queued' AND t.class_id = a.class_id AND t.line = a.head_start_ms ORDER BY t.rank DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (
    SELECT rank, taken FROM turns
    WHERE class_id = a.class_id AND line = a.head_start_ms AND tenant = a.tenant AND (n.lead <> a.tenant OR w.weight > 1)
    LIMIT 1) u ON true
  WHERE a.turn = 0),
placed AS MATERIALIZED (
  SELECT number, tenant, class_id, head_start_ms, max_retries, state, due_at, now, newest, lead, weight,
    CASE WHEN beyond < 0 THEN taken + turn + 1 ELSE beyond % weight + 1 END AS taken,
    beyond >= 0 AND beyond % weight = 0 AND turns[beyond / weight + 1] IS NULL AS opens,
    CASE WHEN beyond < 0 THEN last ELSE coalesce(turns[beyond / weight + 1], least(
      greatest(now - head_start_ms, newest + 1, CASE WHEN weight > 1 THEN last END) + beyond / weight - cardinality(turns), now - head_start_ms + {ahead_ms})) END AS rank
  FROM (
    SELECT a.*, l.newest, l.lead, l.weight, l.last, l.taken, l.turns, a.turn - l.left AS beyond
    FROM accepted a CROSS JOIN lines l
    WHERE l.tenant = a.tenant AND l.class_id = a.class_id AND l.head_start_ms = a.head_start_ms) p)

-- name: accept_all
{refused},
accepted AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('jobs', 'number')::regclass)) AS number,
    nextval((SELECT pg_get_serial_sequence('transitions', 'seq')::regclass)) AS seq, pg_current_xact_id() AS xid, a.*
  FROM asked a WHERE a.ord NOT IN (SELECT ord FROM refused)),
{placed}

-- name: accept_new
-- A key that is known spends no number. One that a rival has just added is waited for, in an order that keeps two batches
-- from waiting for each other.
fresh AS MATERIALIZED (
  SELECT a.* FROM asked a
  WHERE (SELECT k.job FROM idempotency_keys k WHERE k.tenant = a.tenant AND k.key = a.key LIMIT 1) IS NULL),
{refused},
unknown AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('jobs', 'number')::regclass)) AS number, f.*
  FROM fresh f WHERE f.ord NOT IN (SELECT ord FROM refused)),
kept_keys AS (
  INSERT INTO idempotency_keys (tenant, key, body_digest, job)
  SELECT tenant, key, body_digest, number FROM unknown WHERE key IS NOT NULL ORDER BY tenant, key, number
  ON CONFLICT (tenant, key) DO NOTHING
  RETURNING job),
accepted AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('transitions', 'seq')::regclass)) AS seq, pg_current_xact_id() AS xid, u.*
  FROM unknown u WHERE u.key IS NULL OR u.number IN (SELECT job FROM kept_keys)),
{placed}

-- name: known_keys
SELECT w.ord, k.body_digest, j.id, j.number,
  CASE WHEN t.split IS NOT NULL AND t.state IN ('pending', 'queued', 'assigned') THEN 'processing' ELSE t.state END, j.created_at
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (tenant, key, ord)
CROSS JOIN LATERAL (SELECT job, body_digest FROM idempotency_keys WHERE tenant = w.tenant AND key = w.key LIMIT 1) k
CROSS JOIN LATERAL (SELECT id, number, created_at FROM jobs WHERE number = k.job LIMIT 1) j
CROSS JOIN LATERAL (SELECT state, split FROM tasks WHERE job = k.job AND position = 1 LIMIT 1) t

-- name: claim
-- $1 classes; of each claim in order $2 the node, $3 its epoch, $4 the request, $5 how many tasks at the most. Last a row
-- with the place alone for each claim of a node that may have nothing, one with the place twice where another master is serving
-- the node, or just has, and one with place 0 where seats are empty although tasks are queued: a rival has locked them.
WITH asked AS MATERIALIZED (
  SELECT w.*, n.node_name, w.holding IS NULL OR w.known AS rival,
    CASE WHEN w.holding IS NULL OR w.known THEN 0 ELSE n.slots - w.holding END AS free
  FROM ROWS FROM (unnest($2::text[], $3::bigint[], $4::text[], $5::int[]), holdings_alone($2, $3, $4))
    WITH ORDINALITY AS w (node_id, epoch, request, most, holding, known, ord)
  LEFT JOIN LATERAL (
    SELECT name AS node_name, slots FROM nodes
    WHERE id = w.node_id AND epoch = w.epoch AND state = 'ready' LIMIT 1) n ON true
  WHERE NOT EXISTS (SELECT FROM claims_gate FOR KEY SHARE)),
held AS MATERIALIZED ({held}),
{give},
{counted},
noted AS (
  INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
  SELECT job, position, 'queued', 'assigned', now, 'claimed', attempt, node_id FROM given)
{claimed}
UNION ALL
SELECT ord, NULL, CASE WHEN node_name IS NOT NULL AND rival THEN ord END, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM asked
WHERE node_name IS NULL OR (free <= 0 AND ord NOT IN (SELECT ord FROM held))
UNION ALL
SELECT 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM seats s
WHERE (SELECT count(*) FROM heads) < s.total AND (SELECT count(*) FROM given) < (
  -- By the tenants as they were when the statement began: one that a rival filled meanwhile counts, too.
  SELECT sum(least(count, room)) FROM (
    SELECT l.lane, l.room, count(*) AS count
    FROM (SELECT '' AS lane, NULL::bigint AS room UNION ALL
      SELECT name, max_concurrent - running FROM tenants
      WHERE name > '' AND max_concurrent IS NOT NULL AND running < max_concurrent) l
    CROSS JOIN unnest($1::int[]) AS c (class_id)
    CROSS JOIN LATERAL (
      SELECT FROM tasks q WHERE state = 'queued' AND class_id = c.class_id AND q.lane = l.lane
        AND (q.avoid IS NULL OR NOT {avoids} OR NOT s.nodes <@ string_to_array(q.avoid, ' ')) LIMIT s.total) q
    GROUP BY l.lane, l.room) w)
ORDER BY 1, 2, 3, 4

-- name: await_rival
-- Returns when whoever has locked the first task of each class lets go of it.
SELECT FROM unnest($1::int[]) AS c (class_id)
CROSS JOIN LATERAL (
  SELECT job FROM tasks WHERE state = 'queued' AND class_id = c.class_id AND lane = '' ORDER BY rank, job, position LIMIT 1
  FOR KEY SHARE) t

-- name: await_claim
-- Returns when whoever serves the node is done.
SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 7235411200000000002))

-- name: hold_node
-- Until the transaction ends nobody else gives the node anything (see holdings_alone).
SELECT pg_advisory_xact_lock(hashtextextended($1, 7235411200000000002))

-- name: still_avoids
-- Whether a task that is queued still minds where it goes. What was never begun and avoids a node is a hedge, which is never for the
-- node that makes its part.
(q.attempt = 0 OR q.queued_at > (SELECT now_ms()) - {avoid_ms})

-- name: given_before
-- What the nodes have already by the same requests.
SELECT a.ord, t.* FROM asked a CROSS JOIN LATERAL (
  SELECT rank, job, position, attempt, split FROM tasks WHERE node_id = a.node_id AND claim_request = a.request OFFSET 0) t

-- name: give
-- The claims that hold nothing yet get their seats, and the head of each class and lane by its index, merged, takes them in
-- order: what these nodes cannot run is never scanned. A task that avoids all of them is passed over, and a seat stays empty
-- where the task for it avoids its node. A lane is a tenant that may run so many tasks; it is locked, and seen as it is now.
lanes AS MATERIALIZED (
  SELECT '' AS lane, NULL::bigint AS room
  UNION ALL
  SELECT * FROM (
    SELECT name, max_concurrent - running FROM tenants
    WHERE name > '' AND max_concurrent IS NOT NULL AND running < max_concurrent ORDER BY name FOR UPDATE) n),
seats AS MATERIALIZED (
  SELECT count(*) AS total, array_agg(a.ord) AS ords, array_agg(s.seat) AS seats, array_agg(a.node_name) AS names,
    array_agg(a.node_id) AS nodes, array_agg(a.epoch) AS epochs, array_agg(a.request) AS requests
  FROM asked a CROSS JOIN LATERAL generate_series(1, least(a.most, a.free)) AS s (seat)
  WHERE a.node_name IS NOT NULL AND a.ord NOT IN (SELECT ord FROM held)),
heads AS MATERIALIZED (
  SELECT h.task_at, h.job, h.position, s.ords[h.place] AS ord, s.seats[h.place] AS seat, s.names[h.place] AS node_name,
    s.nodes[h.place] AS node_id, s.epochs[h.place] AS epoch, s.requests[h.place] AS request, (SELECT now_ms()) AS now,
    h.avoids IS NOT NULL AND s.nodes[h.place] = ANY (h.avoids) AS avoided
  FROM seats s CROSS JOIN LATERAL (
    SELECT t.*, (row_number() OVER (ORDER BY t.rank, t.job, t.position))::int AS place
    FROM (
      SELECT l.lane, l.room, q.*, CASE WHEN l.room IS NOT NULL THEN
        row_number() OVER (PARTITION BY l.lane ORDER BY q.rank, q.job, q.position) END AS turn
      FROM lanes l CROSS JOIN unnest($1::int[]) AS c (class_id)
      CROSS JOIN LATERAL (
        SELECT q.ctid AS task_at, q.job, q.position, q.rank,
          CASE WHEN q.avoid IS NOT NULL AND {avoids} THEN string_to_array(q.avoid, ' ') END AS avoids FROM tasks q
        WHERE q.state = 'queued' AND q.class_id = c.class_id AND q.lane = l.lane
          AND (q.avoid IS NULL OR NOT {avoids} OR NOT s.nodes <@ string_to_array(q.avoid, ' '))
        ORDER BY q.rank, q.job, q.position LIMIT least(s.total, l.room)
        FOR UPDATE SKIP LOCKED) q) t
    WHERE t.room IS NULL OR t.turn <= t.room
    ORDER BY t.rank, t.job, t.position LIMIT s.total) h),
given AS (
  UPDATE tasks t SET state = 'assigned', attempt = t.attempt + 1, node_id = h.node_id, node_epoch = h.epoch,
    claim_request = h.request, seat = h.seat, started = false, claimed_at = h.now,
    started_at = coalesce(t.started_at, h.now)
  FROM heads h WHERE t.ctid = h.task_at AND NOT h.avoided
  RETURNING h.*, t.rank, t.attempt, t.lane, t.split),
begun AS (
  INSERT INTO attempts (job, position, attempt, node_id, node_name, claim_request, claimed_at)
  SELECT job, position, attempt, node_id, node_name, request, now FROM given)

-- name: claimed
SELECT g.ord, g.rank, g.job, g.position, g.attempt, j.id, j.profile, s.spec, j.timeout_s, p.kind, p.number, p.plan
FROM (
  SELECT ord, rank, job, position, attempt, split FROM given
  UNION ALL SELECT ord, rank, job, position, attempt, split FROM held) g
CROSS JOIN LATERAL (SELECT id, profile, timeout_s FROM jobs WHERE number = g.job LIMIT 1) j
CROSS JOIN LATERAL (SELECT spec FROM job_specs WHERE job = g.job LIMIT 1) s
LEFT JOIN LATERAL (
  SELECT o.kind, o.number, l.plan FROM parts o CROSS JOIN parts l
  WHERE g.split IS NOT NULL AND o.job = g.job AND o.position = g.position AND l.job = g.job AND l.position = 1 LIMIT 1) p ON true

-- name: move
{moved},
{counted},
noted AS (
  INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
  SELECT job, position, source, target, now, reason, current, actor FROM moved)
SELECT ord, class_now, freed FROM moved

-- name: counted
-- What changes in the counts of tenants. The look for any tenant at all is made once, and where there is none nothing else is.
changes AS MATERIALIZED (
  SELECT tenant, sum(running) AS running, sum(queued) AS queued, sum(stored) AS stored FROM ({changes}) c
  WHERE EXISTS (SELECT FROM tenants WHERE name > '') GROUP BY tenant ORDER BY tenant),
counted AS (
  UPDATE tenants n SET running = n.running + c.running, queued = n.queued + c.queued, stored = n.stored + c.stored
  FROM changes c WHERE n.name = ANY (ARRAY(SELECT tenant FROM changes)) AND n.name = c.tenant)

-- name: changed_by_claims
SELECT lane AS tenant, 1 AS running, 0 AS queued, 0::bigint AS stored FROM given WHERE lane <> ''

-- name: changed_by_moves
SELECT tenant, -freed::int AS running, CASE WHEN position = 1 THEN left_end::int - final::int ELSE 0 END AS queued, CASE WHEN outputs IS NULL THEN 0 ELSE kept_bytes - stored END AS stored
FROM moved

-- name: move_and_claim
-- Both at once, for reports with a claim: $1 classes, then the arrays of the moves, then of the same places $22 the node's
-- epoch, $23 the request, $24 how many tasks at the most. All of it sees the queue as it was before these moves, so that
-- what is handed back does not come straight back. For each move that happened a row with its place and class, then one for
-- each task given.
{moved},
asked AS MATERIALIZED (
  SELECT ord, node_id, epoch, request, most, CASE WHEN ready THEN node_name END AS node_name,
    -- One task takes the slot that the report leaves, and nothing has to be counted. What is counted has the report's move in it.
    CASE WHEN most = 1 AND let_go AND held_epoch = epoch THEN 1
      ELSE (SELECT coalesce(slots - holding, 0) FROM holdings_alone(ARRAY[node_id], ARRAY[epoch], ARRAY[request])) END AS free
  FROM moved
  WHERE NOT EXISTS (SELECT FROM claims_gate FOR KEY SHARE)),
held AS MATERIALIZED (SELECT * FROM ({held}) h WHERE (job, position) NOT IN (SELECT job, position FROM moved)),
{give},
{counted},
noted AS (
  INSERT INTO transitions (job, position, source, target, at, reason, attempt, actor)
  SELECT job, position, source, target, now, reason, current, actor FROM moved
  UNION ALL
  SELECT job, position, 'queued', 'assigned', now, 'claimed', attempt, node_id FROM given)
SELECT ord, NULL AS rank, class_now, NULL AS position, freed::int, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM moved
UNION ALL
{claimed}
ORDER BY 1, 2 NULLS FIRST, 3, 4

-- name: moves
-- Arrays with one place for each move. A batch skips what a rival has locked; a move that is alone waits for it. What became
-- of the others, `move_open` tells. A task of a job that was split is moved in a transaction that holds all tasks of the job.
WITH found AS MATERIALIZED (
  SELECT w.*, {node} t.*, a.attempt_at, (SELECT now_ms()) AS now,
    w.target IN ('completed', 'failed', 'canceled', 'rejected') AS final,
    w.release OR w.target NOT IN ('assigned', 'processing', 'paused') AS let_go, j.tenant,
    t.lane <> '' AND t.held AND (w.release OR w.target NOT IN ('assigned', 'processing', 'paused')) AS freed,
    t.source IN ('completed', 'failed', 'canceled', 'rejected') AS left_end
  FROM unnest({arrays})
  WITH ORDINALITY AS w (job_id, position, sources, target, attempt, node_id, release, delay_ms, outcome, failure_class,
    failure_message, reason, actor, spends, loses, restart, facts, outputs, avoid, kept_bytes, {more} ord)
  CROSS JOIN LATERAL (SELECT number, tenant FROM jobs WHERE id = w.job_id LIMIT 1) j
  {standing}
  CROSS JOIN LATERAL (
    SELECT ctid AS task_at, job, state AS source, attempt AS current, class_id, node_epoch AS held_epoch, lane,
      node_id IS NOT NULL AS held, stored
    FROM tasks
    WHERE job = j.number AND position = w.position
      AND state = ANY (string_to_array(w.sources, ','))
      AND (w.attempt IS NULL OR w.attempt = attempt)
      AND (w.node_id IS NULL OR w.node_id = node_id)
      AND (w.target NOT IN ('assigned', 'processing') OR (node_id IS NOT NULL AND NOT w.release)) {whole}
    FOR UPDATE {wait}) t
  LEFT JOIN LATERAL (
    SELECT ctid AS attempt_at FROM attempts
    WHERE job = t.job AND position = w.position AND attempt = t.current AND outcome IS NULL
      AND (w.target = 'processing' OR w.outcome IS NOT NULL) LIMIT 1) a ON true),
moved AS (
  UPDATE tasks t SET
    state = f.target,
    node_id = CASE WHEN f.let_go THEN NULL ELSE t.node_id END,
    node_epoch = CASE WHEN f.let_go THEN NULL ELSE t.node_epoch END,
    claim_request = CASE WHEN f.let_go THEN NULL ELSE t.claim_request END,
    seat = CASE WHEN f.let_go THEN NULL ELSE t.seat END,
    claimed_at = CASE WHEN f.let_go THEN NULL ELSE t.claimed_at END,
    started = CASE WHEN f.target = 'processing' THEN true WHEN f.let_go THEN false ELSE t.started END,
    queued_at = CASE WHEN f.target = 'queued' THEN f.now ELSE t.queued_at END,
    due_at = CASE WHEN f.target IN ('pending', 'retrying', 'paused') THEN coalesce(f.now + f.delay_ms, t.due_at) END,
    spent = CASE WHEN f.restart THEN 0 ELSE t.spent + f.spends END,
    losses = CASE WHEN f.restart THEN 0 ELSE t.losses + f.loses END,
    avoid = CASE WHEN f.restart THEN NULL ELSE coalesce(f.avoid, t.avoid) END,
    job_due_at = coalesce(f.now + f.delay_ms, t.job_due_at),
    finished_at = CASE WHEN f.final THEN f.now END,
    failure_class = CASE WHEN f.failure_class IS NOT NULL THEN f.failure_class
      WHEN f.restart OR f.final THEN NULL ELSE t.failure_class END,
    failure_message = CASE WHEN f.failure_class IS NOT NULL THEN f.failure_message
      WHEN f.restart OR f.final THEN NULL ELSE t.failure_message END,
    facts = coalesce(f.facts, t.facts),
    stored = CASE WHEN f.outputs IS NULL THEN t.stored ELSE f.kept_bytes END,
    split = CASE WHEN f.restart THEN NULL ELSE t.split END,
    class_id = CASE WHEN f.restart THEN coalesce(t.own_class, t.class_id) ELSE t.class_id END,
    own_class = CASE WHEN f.restart THEN NULL ELSE t.own_class END
  FROM found f WHERE t.ctid = f.task_at
  RETURNING f.*, t.class_id AS class_now),
tried AS (
  UPDATE attempts a SET
    started_at = CASE WHEN f.target = 'processing' THEN coalesce(a.started_at, f.now) ELSE a.started_at END,
    ended_at = CASE WHEN f.outcome IS NOT NULL THEN f.now END,
    outcome = f.outcome,
    failure_class = CASE WHEN f.outcome IS NOT NULL THEN f.failure_class END,
    failure_message = CASE WHEN f.outcome IS NOT NULL THEN f.failure_message END
  FROM moved f WHERE a.ctid = f.attempt_at){outputs}

-- name: standing
-- Where the node's epoch is over, the move does not happen.
CROSS JOIN LATERAL (
    SELECT name AS node_name, state = 'ready' AS ready, slots FROM nodes
    WHERE id = w.node_id AND epoch = w.epoch AND state <> 'lost' LIMIT 1) n

-- name: publish
,
withdrawn AS (
  DELETE FROM outputs WHERE job = ANY (ARRAY (SELECT job FROM moved WHERE outputs IS NOT NULL))
    AND (job, name) NOT IN (
      SELECT m.job, x.value ->> 'name' FROM moved m CROSS JOIN LATERAL jsonb_array_elements(m.outputs::jsonb) AS x (value))),
published AS (
  INSERT INTO outputs (job, name, location, sha256, size, streams)
  SELECT m.job, o.* FROM moved m CROSS JOIN LATERAL jsonb_to_recordset(m.outputs::jsonb)
    AS o (name text, location text, sha256 text, size bigint, streams text)
  WHERE m.outputs IS NOT NULL
  ON CONFLICT (job, name) DO UPDATE SET
    location = excluded.location, sha256 = excluded.sha256, size = excluded.size, streams = excluded.streams)

-- name: move_open
-- Which of the moves that did not happen still might: a rival has locked the task, or changed it meanwhile, or its job was split.
SELECT w.ord, t.split IS NOT NULL
FROM unnest({arrays}) WITH ORDINALITY AS w (job_id, position, sources, target, attempt, node_id, release, {more} ord)
CROSS JOIN LATERAL (SELECT number FROM jobs WHERE id = w.job_id LIMIT 1) j
{standing}
CROSS JOIN LATERAL (
  SELECT state, attempt, node_id, split FROM tasks WHERE job = j.number AND position = w.position LIMIT 1) t
WHERE t.state = ANY (string_to_array(w.sources, ','))
  AND (w.attempt IS NULL OR w.attempt = t.attempt)
  AND (w.node_id IS NULL OR w.node_id = t.node_id)
  AND (w.target NOT IN ('assigned', 'processing') OR (t.node_id IS NOT NULL AND NOT w.release))

-- name: lock_tasks
-- All tasks of a job, before anything else is locked: whoever has a tenant waits for no task.
SELECT t.job, t.split FROM jobs j JOIN tasks t ON t.job = j.number WHERE j.id = $1 ORDER BY t.position FOR UPDATE OF t

-- name: only_whole
AND split IS NULL

-- name: lock_ended
-- A job that has ended, with what counts against its running again; locked, so that it stays so.
SELECT j.tenant, t.job FROM jobs j JOIN tasks t ON t.job = j.number
WHERE j.id = $1 AND t.position = $2 AND t.state IN ('failed', 'canceled', 'rejected') FOR UPDATE OF t

-- name: counts
SELECT max_concurrent, max_queued, max_per_day, max_storage, running, queued, CASE WHEN day = $2 THEN accepted ELSE 0 END, stored
FROM tenants WHERE name = $1 FOR UPDATE

-- name: set_lane_of_task
UPDATE tasks SET lane = $3 WHERE job = $1 AND position = $2 AND lane <> $3

-- name: add_nodes
-- In the order of their fingerprints, so that two batches cannot wait for each other. No row where another worker with this
-- identity registered after this one (its boot id is an old one), and lives: it was heard of since. Of what a dead worker sent,
-- and comes late, nobody hears again.
INSERT INTO nodes (id, fingerprint, boot_id, name, state, epoch, slots, registered_at, seen_at, lease_until)
SELECT w.id, w.fingerprint, w.boot_id, w.name, 'ready', 1, w.slots, now, now, now + w.ttl_ms
FROM now_ms() AS now, unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[])
  AS w (id, fingerprint, boot_id, name, slots, ttl_ms)
ORDER BY w.fingerprint
ON CONFLICT (fingerprint) DO UPDATE SET
  boot_id = excluded.boot_id,
  name = excluded.name,
  slots = excluded.slots,
  seen_at = excluded.seen_at,
  lease_until = excluded.lease_until,
  epoch = nodes.epoch + (nodes.boot_id <> excluded.boot_id OR nodes.state = 'lost')::int,
  state = CASE
    WHEN EXISTS (SELECT 1 FROM quarantines q WHERE q.node_id = nodes.id AND q.released_at IS NULL) THEN 'quarantined'
    WHEN nodes.state = 'draining' AND nodes.boot_id = excluded.boot_id THEN 'draining' ELSE 'ready' END
WHERE nodes.boot_id = excluded.boot_id OR nodes.state = 'lost' OR nodes.lease_until < excluded.seen_at OR NOT EXISTS (
  SELECT FROM node_facts f WHERE f.node_id = nodes.id AND f.booted_at < nodes.seen_at
    AND position(' ' || excluded.boot_id || ' ' IN ' ' || f.boots || ' ') > 0)
RETURNING fingerprint, id

-- name: keep_facts_of_nodes
INSERT INTO node_facts (node_id, labels, facts, key_id, boots, booted_at)
SELECT n.id, w.labels::jsonb, w.facts, w.key_id, w.boot_id, n.seen_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS w (node_id, labels, facts, key_id, boot_id)
CROSS JOIN LATERAL (SELECT id, seen_at FROM nodes WHERE id = w.node_id LIMIT 1) n
ON CONFLICT (node_id) DO UPDATE SET
  labels = excluded.labels, facts = excluded.facts, key_id = excluded.key_id, booted_at = excluded.booted_at,
  boots = CASE WHEN position(' ' || excluded.boots || ' ' IN ' ' || node_facts.boots || ' ') > 0 THEN node_facts.boots
    ELSE right(node_facts.boots || ' ' || excluded.boots, 2000) END

-- name: heartbeats
-- In the order of the nodes' ids, so that two batches cannot wait for each other. The block put in is empty, or keeps
-- what the nodes report. A row with the id alone for a node that a rival has changed meanwhile.
WITH alive AS MATERIALIZED (
  SELECT w.ord, w.ttl_ms, n.*, (SELECT now_ms()) AS now
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (node_id, epoch, ttl_ms, ord)
  CROSS JOIN LATERAL (
    SELECT ctid AS node_at, id FROM nodes WHERE id = w.node_id AND epoch = w.epoch AND state <> 'lost'
    FOR NO KEY UPDATE) n),
{progress}
beaten AS (
  UPDATE nodes n SET seen_at = a.now, lease_until = a.now + a.ttl_ms
  FROM alive a WHERE n.ctid = a.node_at
  RETURNING n.*)
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id)
FROM beaten n CROSS JOIN LATERAL (SELECT labels, facts FROM node_facts WHERE node_id = n.id LIMIT 1) f
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM alive WHERE id NOT IN (SELECT id FROM beaten)

-- name: keep_progress
-- Ignored unless the attempt is the node's. $4 is the place of the heartbeat that tells it.
kept AS (
  INSERT INTO progress (job, position, attempt, fraction, phase, frame, fps, speed, eta_s, updated_at)
  SELECT t.job, w.position, w.attempt, w.fraction, w.phase, w.frame, w.fps, w.speed, w.eta_s, (SELECT now_ms())
  FROM unnest($4::int[], $5::text[], $6::int[], $7::int[], $8::float8[], $9::text[], $10::bigint[], $11::float8[],
    $12::float8[], $13::float8[])
    AS w (beat, job_id, position, attempt, fraction, phase, frame, fps, speed, eta_s)
  CROSS JOIN LATERAL (SELECT number FROM jobs WHERE id = w.job_id LIMIT 1) j
  CROSS JOIN LATERAL (
    SELECT job FROM tasks WHERE job = j.number AND position = w.position AND attempt = w.attempt
      AND node_id = ($1::text[])[w.beat] AND node_epoch = ($2::bigint[])[w.beat] LIMIT 1) t
  WHERE w.beat IN (SELECT ord FROM alive)
  ON CONFLICT (job, position) DO UPDATE SET
    attempt = excluded.attempt, fraction = excluded.fraction, phase = excluded.phase, frame = excluded.frame,
    fps = excluded.fps, speed = excluded.speed, eta_s = excluded.eta_s, updated_at = excluded.updated_at),

-- name: held
SELECT j.id || '.' || t.position, j.id, t.state, t.attempt, t.spent, t.losses, t.max_retries, t.class_id, t.node_id,
  t.node_epoch, t.started, t.claimed_at, t.due_at, t.split, t.hedges
FROM tasks t CROSS JOIN LATERAL (SELECT id FROM jobs WHERE number = t.job LIMIT 1) j
WHERE t.node_id = ANY ($1::text[]) ORDER BY t.job, t.position

-- name: nodes_by_id
SELECT n.id, n.fingerprint, n.boot_id, n.name, n.state, n.epoch, n.slots, f.labels, f.facts, n.registered_at, n.seen_at,
  n.lease_until, (SELECT count(*) FROM tasks t WHERE t.node_id = n.id)
FROM nodes n JOIN node_facts f ON f.node_id = n.id WHERE n.id = ANY ($1::text[]) ORDER BY n.lease_until, n.id

-- name: close_gate
-- Waits for every claim that began before, and lets none begin until this transaction ends.
LOCK TABLE claims_gate IN EXCLUSIVE MODE

-- name: close_counts
-- Waits for every statement that counts, and lets none begin until this transaction ends.
LOCK TABLE tenants IN EXCLUSIVE MODE

-- name: lock_migrations
SELECT pg_advisory_xact_lock(7235411200000000001)

-- name: lock_masters
-- Nobody says that it lives until the transaction ends.
LOCK TABLE masters IN SHARE ROW EXCLUSIVE MODE

-- name: known_by_masters
SELECT knows FROM masters WHERE seen_at > now_ms() - $1::bigint

-- name: notify
SELECT pg_notify('millrace', $1)

-- name: is_fresh
SELECT to_regclass('schema_migrations') IS NULL

-- What holds rows, each behind what it refers to.
-- name: tables_and_columns
SELECT c.relname::text AS name,
  array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '') AS columns,
  ARRAY(SELECT r.relname::text FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
    WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid) AS behind
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_migrations'
GROUP BY c.oid, c.relname ORDER BY c.relname

-- name: numbered_columns
SELECT c.relname::text AS name, a.attname::text AS "column"
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attidentity <> ''
ORDER BY c.relname

-- name: identity
-- Which cluster this is, and how often a standby of it was promoted; an error on a standby.
SELECT system_identifier::text, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int FROM pg_control_system()

-- name: count_missing
-- Of what a master has answered as done: jobs (attempt 0), attempts that were given to a node, and those that ended.
SELECT count(*)
FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bool[]) AS w (job_id, position, attempt, node_id, ended)
LEFT JOIN LATERAL (SELECT number FROM jobs WHERE id = w.job_id LIMIT 1) j ON true
LEFT JOIN LATERAL (
  SELECT outcome IS NOT NULL AS ended FROM attempts
  WHERE job = j.number AND position = w.position AND attempt = w.attempt AND node_id = w.node_id LIMIT 1) a ON true
WHERE j.number IS NULL OR (w.attempt > 0 AND (a.ended IS NULL OR a.ended < w.ended))
