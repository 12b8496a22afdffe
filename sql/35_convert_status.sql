-- Text columns that become delivery_status.

CREATE FUNCTION msgstatus.convert_status(
    messages regclass, "column" name, provider text DEFAULT 'twilio', words jsonb DEFAULT '{}'
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    number smallint;
    column_type regtype;
    column_default text;
    -- What the column's values become, as an expression.
    converted text;
    new_default msgstatus.delivery_status;
    bound record;
    unknown text;
    rows bigint;
BEGIN
    IF messages IS NULL OR "column" IS NULL OR provider IS NULL OR words IS NULL THEN
        RAISE EXCEPTION 'convert_status needs a table, a column and a provider, not NULL'
            USING ERRCODE = '22023', HINT = 'For example: SELECT msgstatus.convert_status(''messages'', ''status'').';
    END IF;
    SELECT w.key || ': ' || w.value INTO unknown
      FROM jsonb_each(CASE jsonb_typeof(words) WHEN 'object' THEN words ELSE jsonb_build_object('words', words) END) w
     WHERE jsonb_typeof(words) <> 'object'
        OR w.value <> 'null' AND NOT coalesce(w.value #>> '{}' = ANY (enum_range(NULL::msgstatus.delivery_status)::text[]), false)
     LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'words: % is not a word and its status', unknown
            USING ERRCODE = '22023',
                  HINT = 'words maps words of your own to labels of msgstatus.delivery_status, or to null: {"pending": "queued", "": null}.';
    END IF;
    SELECT a.attnum, a.atttypid::regtype, pg_get_expr(d.adbin, d.adrelid) INTO number, column_type, column_default
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = messages AND a.attname = "column" AND a.attnum > 0 AND NOT a.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'column "%" of table % does not exist', "column", messages
            USING ERRCODE = '42703', HINT = 'Name the column that holds the status as text.';
    END IF;
    IF column_type = 'msgstatus.delivery_status'::regtype THEN
        RETURN 0;
    END IF;
    IF column_type NOT IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
        RAISE EXCEPTION 'column "%" of table % is %, not text', "column", messages, column_type
            USING ERRCODE = '42804', HINT = 'convert_status converts text and varchar columns. Cast the column to text first.';
    END IF;

    -- Indexes and constraints that compare the column with text do not survive its type, and PostgreSQL's own error does
    -- not say which they are.
    SELECT string_agg(b.what, ', ' ORDER BY b.what) AS what, string_agg(b.remove, ' ' ORDER BY b.what) AS remove,
           string_agg(b.definition, E'\n' ORDER BY b.what) AS definition
      INTO bound
      FROM (SELECT format('index %s', i.indexrelid::regclass), format('DROP INDEX %s;', i.indexrelid::regclass),
                   pg_get_indexdef(i.indexrelid)
              FROM pg_index i
             WHERE i.indrelid = messages AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
               AND concat(i.indpred, i.indexprs) ~ format(':varattno %s ', number)
             UNION ALL
            SELECT format('constraint %I', c.conname), format('ALTER TABLE %s DROP CONSTRAINT %I;', messages, c.conname),
                   format('ALTER TABLE %s ADD CONSTRAINT %I %s', messages, c.conname, pg_get_constraintdef(c.oid))
              FROM pg_constraint c
             WHERE c.conrelid = messages AND c.contype = 'c' AND number = ANY (c.conkey)) AS b(what, remove, definition);
    IF bound.what IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" of table % is compared as text by %', "column", messages, bound.what
            USING ERRCODE = '2BP01', DETAIL = bound.definition,
                  HINT = format('Nothing was changed. Drop it, convert the column, and create it again if you still need it: %s', bound.remove);
    END IF;

    converted := format('CASE WHEN %2$L::jsonb ? %1$I::text THEN (%2$L::jsonb ->> %1$I::text)::msgstatus.delivery_status
                         ELSE msgstatus.parse_status(%1$I::text, %3$L) END', "column", words, provider);
    -- Looked through before the table is locked against readers: that takes as long as the conversion itself.
    EXECUTE format($$
        SELECT string_agg(format('%%L (%%s %%s)', w.word, w.n, CASE w.n WHEN 1 THEN 'row' ELSE 'rows' END), ', ' ORDER BY w.n DESC, w.word)
          FROM (SELECT left(m.%1$I::text, 80) AS word, count(*) AS n FROM %2$s m
                 WHERE m.%1$I IS NOT NULL AND %3$s IS NULL AND NOT %4$L::jsonb ? m.%1$I::text
                 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20) w
    $$, "column", messages, converted, words) INTO unknown;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" of table % holds words that % does not have: %', "column", messages, provider, unknown
            USING ERRCODE = '22023',
                  HINT = 'Nothing was changed. Say what they mean, as in convert_status(..., words => ''{"pending": "queued"}''), update these rows, or name the provider whose words they are.';
    END IF;
    IF column_default IS NOT NULL THEN
        EXECUTE format('SELECT %s FROM (SELECT (%s)::text) AS d(%I)', converted, column_default, "column") INTO new_default;
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', messages, "column");
        IF new_default IS NULL AND column_default NOT LIKE 'NULL::%' THEN
            RAISE EXCEPTION 'the default of column "%" of table % is %, which % does not have', "column", messages, column_default, provider
                USING ERRCODE = '22023',
                      HINT = 'Nothing was changed. Set another default, or drop it, or say what it means with words => ..., and convert again.';
        END IF;
    END IF;
    -- An unknown word that came meanwhile is refused by the cast.
    EXECUTE format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE msgstatus.delivery_status
                    USING CASE WHEN %4$L::jsonb ? %2$I::text THEN %3$s
                          ELSE coalesce(%3$s, %2$I::text::msgstatus.delivery_status) END', messages, "column", converted, words);
    IF new_default IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %L', messages, "column", new_default);
    END IF;
    EXECUTE format('SELECT count(*) FROM %s', messages) INTO rows;
    RETURN rows;
END
$function$;
COMMENT ON FUNCTION msgstatus.convert_status(regclass, name, text, jsonb) IS
    'Converts a text column into delivery_status in place and gives the number of rows; the table is locked while it is rewritten. words says what words of your own mean. Unknown words are listed in the error and nothing is changed.';
