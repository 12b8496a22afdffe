# Django with psycopg 3. Status is a CharField with choices, on tables that Django does not manage; that is all.
# For tables that Django makes, DeliveryStatusField (below) gives the column its type; attach them in a migration.
import os

import django
import pytest
from django.conf import settings
from django.db import DataError, ProgrammingError, connection, models

DATABASE = {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ.get("PGDATABASE", "postgres")}
settings.configure(
    USE_TZ=True,
    DATABASES={"default": DATABASE, "server_side": {**DATABASE, "OPTIONS": {"server_side_binding": True}}},
)
django.setup()


class DeliveryStatus(models.TextChoices):
    RECEIVING = "receiving"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERY_UNKNOWN = "delivery_unknown"
    PARTIALLY_DELIVERED = "partially_delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"
    DELIVERED = "delivered"
    READ = "read"


class Message(models.Model):
    message_id = models.BigAutoField(primary_key=True)
    sid = models.TextField(unique=True, null=True)
    batch = models.TextField(null=True)
    status = models.CharField(max_length=20, choices=DeliveryStatus, default=DeliveryStatus.QUEUED)
    error_code = models.TextField(null=True)
    sent_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "clients"
        db_table = "messages"
        managed = False


class Callback(models.Model):
    delivery_id = models.BigAutoField(primary_key=True)
    # No constraint: a callback may come before its message.
    message = models.ForeignKey(
        Message, models.DO_NOTHING, to_field="sid", db_column="sid", db_constraint=False, related_name="callbacks"
    )
    status = models.TextField()
    error_code = models.TextField(null=True)
    event_at = models.DateTimeField(null=True)
    # Generated, so Django must not write it. The expression is only for tables that Django makes.
    delivery_status = models.GeneratedField(
        expression=models.F("status"), output_field=models.TextField(choices=DeliveryStatus), db_persist=True
    )

    class Meta:
        app_label = "clients"
        db_table = "delivery_log"
        managed = False


class DeliveryStatusField(models.CharField):
    """The column of a table that Django makes."""

    def db_type(self, connection):
        return "msgstatus.delivery_status"


@pytest.fixture(params=["default", "server_side"])
def using(request):
    yield request.param
    django.db.connections.close_all()  # in the tables of the next test, the types are others


def save(using, callbacks):
    for callback in callbacks:
        callback.save(using=using)


def bulk_create(using, callbacks):
    Callback.objects.using(using).bulk_create(callbacks)


def batches(using, callbacks):
    Callback.objects.using(using).bulk_create(callbacks, batch_size=4)


@pytest.mark.parametrize("write", [save, bulk_create, batches])
def test_callbacks(using, callbacks, expected, early, late, write):
    messages = Message.objects.using(using)
    messages.bulk_create([Message(sid=sid) for sid in early])
    write(using, [Callback(message_id=callback.pop("sid"), **callback) for callback in callbacks])
    messages.create(sid=late)
    columns = "sid", "status", "error_code", "sent_at", "delivered_at", "read_at", "failed_at"
    assert list(messages.order_by("sid").values_list(*columns)) == expected
    assert Callback.objects.using(using).filter(status="DELIVERED").get().delivery_status == "delivered"


def test_a_callback_before_its_message(using):
    callback = Callback.objects.using(using).create(message_id="SM1", status="delivered")
    message = Message.objects.using(using).create(sid="SM1")
    assert message.status == "queued"  # what Django sent; the row has more
    message.refresh_from_db()
    assert (message.status, callback.message) == ("delivered", message)


def test_save_of_a_stale_instance_moves_nothing_back(using):
    stale = Message.objects.using(using).create(sid="SM1")
    stale.callbacks.create(status="delivered")
    stale.batch = "june"
    stale.save()  # writes every column: status 'queued', sent_at and delivered_at NULL
    fresh = Message.objects.using(using).get()
    assert (fresh.status, fresh.batch) == ("delivered", "june")
    assert fresh.sent_at is not None and fresh.delivered_at is not None


def test_queries(using):
    messages = Message.objects.using(using)
    words = ["queued", "sent", "sent", "undelivered", "delivered", "read"]
    messages.bulk_create([Message(sid=f"SM{n}", status=word) for n, word in enumerate(words)])
    assert messages.filter(status="delivered").get().sid == "SM4"
    assert messages.filter(status=DeliveryStatus.DELIVERED).exclude(status="read").count() == 1
    assert messages.filter(status__in=["sent", "read"]).count() == 3
    assert messages.filter(status__gte="delivered").count() == 2  # in the order of the enum
    assert messages.filter(status__startswith="deliver").count() == 1
    assert list(messages.order_by("-status").values_list("status", flat=True)[:2]) == ["read", "delivered"]
    counts = messages.values("status").annotate(count=models.Count("*")).order_by("status")
    assert [(row["status"], row["count"]) for row in counts] == [
        ("queued", 1), ("sent", 2), ("undelivered", 1), ("delivered", 1), ("read", 1),
    ]
    assert messages.aggregate(sent=models.Count("pk", filter=models.Q(status="sent")))["sent"] == 2
    assert messages.first().get_status_display() == "Queued"
    # Compare the enum with the enum: the log's status is text, its delivery_status is not.
    callbacks = Callback.objects.using(using)
    callbacks.create(message_id="SM0", status="SENT")
    assert callbacks.filter(message__status=models.F("delivery_status")).get().message_id == "SM0"
    with pytest.raises(ProgrammingError, match="delivery_status = text"):
        callbacks.filter(message__status=models.F("status")).exists()


def test_writing_status(using):
    messages = Message.objects.using(using)
    messages.bulk_create([Message(sid="SM1", status="delivered"), Message(sid="SM2", status="queued")])

    def stored():
        return list(messages.order_by("sid").values_list("status", flat=True))

    messages.update(status="sent")
    assert stored() == ["delivered", "sent"]
    rows = list(messages.order_by("sid"))
    rows[0].status, rows[1].status = "queued", "undelivered"
    messages.bulk_update(rows, ["status"])  # a CASE, cast to varchar
    assert stored() == ["delivered", "undelivered"]
    upsert = {"update_conflicts": True, "update_fields": ["status"], "unique_fields": ["sid"]}
    messages.bulk_create([Message(sid="SM1", status="read"), Message(sid="SM2", status="sent")], **upsert)
    assert stored() == ["read", "undelivered"]
    messages.update_or_create(sid="SM1", defaults={"status": "sent"})
    assert stored() == ["read", "undelivered"]
    with pytest.raises(DataError):
        messages.update(status="bounced")


def test_the_labels_are_those_of_the_type():
    with connection.cursor() as cursor:
        cursor.execute("SELECT enum_range(NULL::msgstatus.delivery_status)::text[]")
        assert cursor.fetchone()[0] == DeliveryStatus.values
    connection.close()


class Sms(models.Model):
    sid = models.CharField(max_length=34, unique=True)
    status = DeliveryStatusField(max_length=20, choices=DeliveryStatus, default=DeliveryStatus.QUEUED)

    class Meta:
        app_label = "clients"


class SmsEvent(models.Model):
    sid = models.CharField(max_length=34, db_index=True)
    status = models.CharField(max_length=20)

    class Meta:
        app_label = "clients"


def test_tables_made_by_django():
    try:
        with connection.schema_editor() as editor:
            editor.create_model(Sms)
            editor.create_model(SmsEvent)
        with connection.cursor() as cursor:
            cursor.execute("SELECT msgstatus.attach(%s, %s)", [Sms._meta.db_table, SmsEvent._meta.db_table])
        sms = Sms.objects.create(sid="SM1")
        SmsEvent.objects.bulk_create([SmsEvent(sid="SM1", status=word) for word in ("delivered", "sent")])
        sms.save()
        assert Sms.objects.get(status="delivered") == sms
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS clients_sms, clients_smsevent")
        connection.close()
