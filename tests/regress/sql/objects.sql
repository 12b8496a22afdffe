-- The extension's objects: comments, flags, pinned paths, privileges.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET intervalstyle = 'postgres';

-- Everything a user can meet has a comment.
SELECT i.type, i.identity
  FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i
 WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'msgstatus') AND d.deptype = 'e'
   AND obj_description(d.objid, d.classid::regclass::name) IS NULL
   AND NOT (i.type = 'type' AND i.identity LIKE '%[]') AND i.type <> 'composite type'
   -- Types of rows come with their tables.
   AND NOT EXISTS (SELECT FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typrelid <> 0)
 ORDER BY 1, 2;
SELECT attrelid::regclass, attname FROM pg_attribute
 WHERE attrelid IN (SELECT objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass
                       AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'msgstatus'))
   AND attrelid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'v')) AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('msgstatus.policy'::regclass, 'msgstatus.tracked'::regclass) AND NOT tgisinternal AND obj_description(oid, 'pg_trigger') IS NULL;
SELECT evtname FROM pg_event_trigger WHERE evtname ~ 'msgstatus' AND obj_description(oid, 'pg_event_trigger') IS NULL;
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS extension_commented, extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'msgstatus';
-- All of it is in one schema, where nothing else is.
SELECT count(*) FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'msgstatus')
   AND i.schema IS DISTINCT FROM 'msgstatus' AND i.type NOT IN ('schema', 'cast', 'event trigger');

-- The public functions: signature, volatility, strictness, parallel safety.
CREATE TEMP VIEW public_functions AS
    SELECT * FROM pg_proc WHERE pronamespace = 'msgstatus'::regnamespace
       AND proname = ANY ('{rank,supersedes,precedes,is_final,is_success,is_failure,parse_status,fold,create_tables,attach,detach,convert_status,settle,apply_status,history,verify,rebuild,rebuild_part,rebuild_in_parts,unmatched,unrecognized,due}');
SELECT oid::regprocedure AS function, pg_get_function_result(oid) AS result, prokind AS kind, provolatile AS volatile, proisstrict AS strict, proparallel AS parallel, prosecdef AS definer
  FROM public_functions ORDER BY oid::regprocedure::text COLLATE "C";
-- Every name and default of their arguments is part of the interface.
\pset format unaligned
SELECT proname, pg_get_function_arguments(oid) FROM public_functions ORDER BY oid::regprocedure::text COLLATE "C";
\pset format aligned
-- Functions that run SQL of their own, or with others' rights, pin their search_path; those that are to be inlined can't, and qualify every name.
SELECT p.oid::regprocedure AS unpinned FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'msgstatus'::regnamespace
   AND (lanname NOT IN ('c', 'internal', 'sql') AND prokind = 'f' OR prosecdef) AND NOT coalesce(proconfig::text ~ 'search_path=(pg_catalog, pg_temp|\\"\\"|"")', false) ORDER BY p.oid::regprocedure::text;
SELECT p.oid::regprocedure AS unqualified FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'msgstatus'::regnamespace AND lanname = 'sql' AND proconfig IS NULL
   AND regexp_replace(prosrc, 'OPERATOR\(pg_catalog\.[<>=]+\)', '', 'g') ~ '[<>=+|]' ORDER BY p.oid::regprocedure::text;
SELECT aggfnoid::regprocedure, aggkind, aggcombinefn <> 0 AS combines, aggserialfn <> 0 AS serial, aggfinalmodify, (SELECT proparallel FROM pg_proc WHERE oid = aggfnoid) AS parallel
  FROM pg_aggregate WHERE aggfnoid::regproc::text = 'msgstatus.fold';
SELECT oprname, oprleft::regtype, oprright::regtype, oprcom::regoperator, oprcode, oprrest, oprjoin FROM pg_operator WHERE oprnamespace = 'msgstatus'::regnamespace ORDER BY 1;
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod FROM pg_cast WHERE casttarget = 'msgstatus.delivery_status'::regtype ORDER BY castsource::regtype::text;
-- They are inlined: no call is left in the plan.
CREATE TEMP TABLE inlined (s msgstatus.delivery_status);
CREATE FUNCTION pg_temp.plan(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text; all_lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || statement LOOP all_lines := all_lines || line; END LOOP;
    RETURN all_lines;
END
$$;
SELECT e, pg_temp.plan('SELECT * FROM inlined WHERE ' || e) ~ 'is_final\(|is_success\(|is_failure\(|supersedes\(|precedes\(|OPERATOR\(msgstatus|<< |>> ' AS called
  FROM unnest(ARRAY['msgstatus.is_final(s)', 'msgstatus.is_success(s)', 'msgstatus.is_failure(s)', 'msgstatus.supersedes(s, ''sent'')', 's OPERATOR(msgstatus.>>) ''sent''', 's OPERATOR(msgstatus.<<) ''sent''']) e;

-- What everybody may do with the tables, the schema and the functions.
SELECT privilege FROM unnest(ARRAY['USAGE', 'CREATE']) privilege WHERE has_schema_privilege('public', 'msgstatus', privilege);
SELECT relname, privilege FROM pg_class, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) privilege
 WHERE relnamespace = 'msgstatus'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege('public', oid, privilege);
SELECT relname FROM pg_class WHERE oid IN ('msgstatus.policy'::regclass, 'msgstatus.tracked'::regclass) AND has_table_privilege('public', oid, 'SELECT') ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'msgstatus'::regnamespace AND relkind = 'S' AND (has_sequence_privilege('public', oid, 'UPDATE') OR has_sequence_privilege('public', oid, 'USAGE'));
SELECT oid::regprocedure AS not_for_everybody FROM public_functions WHERE NOT has_function_privilege('public', oid, 'EXECUTE') ORDER BY oid::regprocedure::text;

-- The policies that come with it.
SELECT policy, count(*), count(*) FILTER (WHERE rank <> msgstatus.rank(status)) AS differ FROM msgstatus.policy GROUP BY 1 ORDER BY 1;
SELECT policy, status, rank FROM msgstatus.policy WHERE rank <> msgstatus.rank(status) ORDER BY 1, 2;
-- What a dump of the extension takes along.
SELECT c::regclass AS table, condition FROM pg_extension, unnest(extconfig, extcondition) u(c, condition) WHERE extname = 'msgstatus' AND c IN ('msgstatus.policy'::regclass, 'msgstatus.tracked'::regclass);

-- Settings: those of the prefix are known, others are refused.
SELECT name, setting, context, vartype FROM pg_settings WHERE name = 'msgstatus.guard';
\set VERBOSITY sqlstate
SET msgstatus.gaurd = off;
\set VERBOSITY terse
SET msgstatus.guard = 'perhaps';
