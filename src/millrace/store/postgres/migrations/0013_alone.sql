-- Two masters that serve one node at the same moment.

-- What nodes hold in their epochs, and whether by requests of these names: in the order given, as it is now and not as it was when
-- the statement began, because each query of a volatile function has a snapshot of its own. Until the transaction ends nobody
-- else learns what the node holds: it is NULL where another is at it.
CREATE FUNCTION holdings_alone(node_ids text[], node_epochs bigint[], requests text[])
RETURNS TABLE (holding bigint, known boolean) LANGUAGE plpgsql VOLATILE ROWS 10 AS $$
DECLARE
  alone boolean[] := (
    SELECT array_agg(pg_try_advisory_xact_lock(hashtextextended(id, 7235411200000000002)) ORDER BY ord)
    FROM unnest(node_ids) WITH ORDINALITY AS u (id, ord)); BEGIN RETURN QUERY
  SELECT CASE WHEN u.alone THEN (SELECT count(*) FROM tasks h WHERE h.node_id = u.id AND h.node_epoch = u.epoch) END,
    EXISTS (SELECT FROM tasks h WHERE h.node_id = u.id AND h.claim_request = u.request)
  FROM unnest(node_ids, node_epochs, requests, alone) WITH ORDINALITY AS u (id, epoch, request, alone, ord)
  ORDER BY u.ord
; END $$;
