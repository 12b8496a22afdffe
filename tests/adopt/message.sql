-- The application as it was: it sends a message, stores the SID when it has it, and looks what is under way.
SELECT check_running();
INSERT INTO messages (to_number, body) VALUES ('+15550100', 'Table for two, 8 pm') RETURNING id \gset
UPDATE messages SET twilio_sid = 'SM' || md5(:id::text), status = 'sent' WHERE id = :id AND status IN ('queued', 'sent');
