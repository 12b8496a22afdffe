\echo 'Nothing of msgstatus is left on the tables, and the rows are as they were'
SELECT count(*) AS triggers FROM pg_trigger
 WHERE tgrelid IN ('whatsapp_messages'::regclass, 'campaign_recipients'::regclass, 'whatsapp_status_log'::regclass);
SELECT attrelid::regclass AS in_table, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid) AS default
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid IN ('whatsapp_messages'::regclass, 'campaign_recipients'::regclass) AND attname = 'status' ORDER BY 1;
DROP EXTENSION msgstatus;
SELECT status, count(*), count(delivered_at) AS delivered_at FROM whatsapp_messages GROUP BY 1 ORDER BY 1;
SELECT status, count(*) FROM campaign_recipients GROUP BY 1 ORDER BY 1;
\echo 'As long ago, an UPDATE may say anything'
UPDATE whatsapp_messages SET status = 'delivered' WHERE message_id = 'wamid.01' RETURNING status;
SELECT indexname FROM pg_indexes WHERE tablename = 'whatsapp_messages' AND indexname LIKE 'idx%' ORDER BY 1;
