-- The tables as the system has them. campaign_recipients has had its timestamps from the beginning.
CREATE TABLE whatsapp_messages (
    id         serial PRIMARY KEY,
    message_id varchar(255) UNIQUE,         -- the wamid
    direction  varchar(20) NOT NULL,
    status     varchar(20),
    from_phone varchar(20),
    to_phone   varchar(20),
    content    text,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE TABLE campaign_recipients (
    id                  serial PRIMARY KEY,
    campaign_id         integer NOT NULL,
    phone               varchar(20) NOT NULL,
    whatsapp_message_id varchar(255),
    status              varchar(20) NOT NULL DEFAULT 'pending',
    sent_at             timestamp,
    delivered_at        timestamp,
    read_at             timestamp,
    failed_at           timestamp,
    failed_reason       text,
    created_at          timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

-- add_whatsapp_messages_timestamps.sql
ALTER TABLE whatsapp_messages
    ADD COLUMN sent_at       timestamp,
    ADD COLUMN delivered_at  timestamp,
    ADD COLUMN read_at       timestamp,
    ADD COLUMN failed_at     timestamp,
    ADD COLUMN failed_reason text;
CREATE INDEX idx_whatsapp_messages_sent_at      ON whatsapp_messages (sent_at);
CREATE INDEX idx_whatsapp_messages_delivered_at ON whatsapp_messages (delivered_at);
CREATE INDEX idx_whatsapp_messages_read_at      ON whatsapp_messages (read_at);
CREATE INDEX idx_whatsapp_messages_failed_at    ON whatsapp_messages (failed_at);

-- 01 went well. 02 was read, and "delivered" never came. 03 failed, which the recipient was not told. 04 was read, and
-- moved back by a late "delivered". 05 is from before the migration, its times are those of the recipient. 06 was not
-- answered. 07 failed on one device after it had reached another. 08 is from before the migration, and of no campaign.
INSERT INTO whatsapp_messages (message_id, direction, status, from_phone, to_phone, content, created_at,
                               sent_at, delivered_at, read_at, failed_at, failed_reason) VALUES
    ('wamid.08', 'outgoing', 'sent',      '+911140000000', '+919800000008', 'Your order is packed',   '2025-10-01 08:00:00', NULL, NULL, NULL, NULL, NULL),
    ('wamid.05', 'outgoing', 'delivered', '+911140000000', '+919800000005', 'Diwali sale: 20 % off',  '2025-10-02 09:00:00', NULL, NULL, NULL, NULL, NULL),
    ('wamid.01', 'outgoing', 'read',      '+911140000000', '+919800000001', 'New: mango pickle',      '2025-11-03 09:00:00.41', '2025-11-03 09:00:00.41', '2025-11-03 09:00:05', '2025-11-03 09:10:00', NULL, NULL),
    ('wamid.02', 'outgoing', 'read',      '+911140000000', '+919800000002', 'Yes, we are open',       '2025-11-03 09:01:00.52', '2025-11-03 09:01:00.52', NULL, '2025-11-03 09:01:30', NULL, NULL),
    ('wamid.03', 'outgoing', 'failed',    '+911140000000', '+919800000003', 'New: mango pickle',      '2025-11-03 09:02:00.63', '2025-11-03 09:02:00.63', NULL, NULL, '2025-11-03 09:02:03', 'Error 131047: Re-engagement message - Re-engagement message (More than 24 hours have passed)'),
    ('wamid.04', 'outgoing', 'delivered', '+911140000000', '+919800000004', 'New: mango pickle',      '2025-11-03 09:03:00.74', '2025-11-03 09:03:00.74', '2025-11-03 09:03:09', '2025-11-03 09:03:08', NULL, NULL),
    ('wamid.06', 'outgoing', 'sent',      '+911140000000', '+919800000006', 'Are you still there?',   '2025-11-03 09:04:00.85', '2025-11-03 09:04:00.85', NULL, NULL, NULL, NULL),
    ('wamid.07', 'outgoing', 'failed',    '+911140000000', '+919800000007', 'Your bill',              '2025-11-03 09:05:00.96', '2025-11-03 09:05:00.96', '2025-11-03 09:05:04', NULL, '2025-11-03 09:05:07', 'Error 131026: Message Undeliverable'),
    ('wamid.09', 'incoming', 'received',  '+919800000001', '+911140000000', 'Two jars please',        '2025-11-03 09:20:00', NULL, NULL, NULL, NULL, NULL),
    ('wamid.10', 'incoming', NULL,        '+919800000002', '+911140000000', 'Thanks',                 '2025-11-03 09:21:00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO campaign_recipients (campaign_id, phone, whatsapp_message_id, status, created_at, sent_at, delivered_at, read_at) VALUES
    (6, '+919800000005', 'wamid.05', 'delivered', '2025-10-02 08:55:00', '2025-10-02 09:00:00.11', '2025-10-02 09:00:07', NULL),
    (7, '+919800000001', 'wamid.01', 'read',      '2025-11-03 08:55:00', '2025-11-03 09:00:00.42', '2025-11-03 09:00:05', '2025-11-03 09:10:00'),
    (7, '+919800000003', 'wamid.03', 'sent',      '2025-11-03 08:55:00', '2025-11-03 09:02:00.64', NULL, NULL),
    (7, '+919800000004', 'wamid.04', 'read',      '2025-11-03 08:55:00', '2025-11-03 09:03:00.75', '2025-11-03 09:03:02', '2025-11-03 09:03:08'),
    (7, '+919800000011', NULL,       'pending',   '2025-11-03 08:55:00', NULL, NULL, NULL);
