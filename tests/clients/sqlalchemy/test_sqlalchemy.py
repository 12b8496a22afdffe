# SQLAlchemy with psycopg. Declare the column as postgresql.ENUM with the schema and create_type=False (STATUS below).
# Declared as String it can be written and read, too, but compared only with a literal of type STATUS.
import enum
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql


class DeliveryStatus(str, enum.Enum):
    """To be complete: a label without a member makes reading fail."""

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


# Without values_callable SQLAlchemy would write the members' names. Without create_type=False, drop_all would try to
# drop the extension's type; so it does if STATUS stands in a type_annotation_map, where create_type is lost.
STATUS = postgresql.ENUM(
    DeliveryStatus,
    name="delivery_status",
    schema="msgstatus",
    create_type=False,
    values_callable=lambda members: [member.value for member in members],
)


class Base(orm.DeclarativeBase):
    type_annotation_map = {datetime: sa.DateTime(timezone=True)}


class TextBase(orm.DeclarativeBase):
    type_annotation_map = Base.type_annotation_map


class Row:
    """What both models of messages have."""

    __tablename__ = "messages"
    message_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    sid: orm.Mapped[str | None]
    batch: orm.Mapped[str | None]
    error_code: orm.Mapped[str | None]
    sent_at: orm.Mapped[datetime | None]
    delivered_at: orm.Mapped[datetime | None]
    read_at: orm.Mapped[datetime | None]
    failed_at: orm.Mapped[datetime | None]


class Message(Row, Base):
    status: orm.Mapped[DeliveryStatus] = orm.mapped_column(STATUS, server_default="queued")


class TextMessage(Row, TextBase):
    status: orm.Mapped[str] = orm.mapped_column(server_default="queued")


class Callback(Base):
    __tablename__ = "delivery_log"
    delivery_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    sid: orm.Mapped[str]
    status: orm.Mapped[str]
    error_code: orm.Mapped[str | None]
    event_at: orm.Mapped[datetime | None]
    # Generated: read, never written.
    delivery_status: orm.Mapped[DeliveryStatus | None] = orm.mapped_column(STATUS, sa.FetchedValue())


@pytest.fixture(scope="module")
def engine():
    # PGHOST and the others say which server; the URL may be as empty as this.
    engine = sa.create_engine("postgresql+psycopg://")
    yield engine
    engine.dispose()


def flush(session, callbacks):
    session.add_all([Callback(**callback) for callback in callbacks])
    session.flush()


def one_by_one(session, callbacks):
    for callback in callbacks:
        statement = sa.insert(Callback).values(**callback).returning(Callback.delivery_status)
        status = session.scalars(statement).one()
        assert status == (None if callback["status"] == "bounced" else DeliveryStatus(callback["status"].lower()))


def insertmanyvalues(session, callbacks):
    assert len(session.scalars(sa.insert(Callback).returning(Callback), callbacks).all()) == len(callbacks)


def executemany(session, callbacks):
    session.connection().execute(sa.insert(Callback.__table__), callbacks)


@pytest.mark.parametrize("model", [Message, TextMessage])
@pytest.mark.parametrize("write", [flush, one_by_one, insertmanyvalues, executemany])
def test_callbacks(engine, callbacks, expected, early, late, write, model):
    with orm.Session(engine) as session:
        session.add_all([model(sid=sid) for sid in early])
        session.commit()
        write(session, callbacks)
        session.commit()
        session.add(model(sid=late))
        session.commit()
        messages = session.scalars(sa.select(model).order_by(model.sid)).all()
        rows = [(m.sid, m.status, m.error_code, m.sent_at, m.delivered_at, m.read_at, m.failed_at) for m in messages]
    assert rows == expected
    assert all(isinstance(row[1], DeliveryStatus if model is Message else str) for row in rows)


@pytest.mark.parametrize("model", [Message, TextMessage])
def test_flush_of_a_stale_object_moves_nothing_back(engine, model):
    with orm.Session(engine) as session, orm.Session(engine) as webhook:
        message = model(sid="SM1")
        session.add(message)
        session.commit()
        assert message.status == "queued"
        webhook.add(Callback(sid="SM1", status="delivered"))
        webhook.commit()
        assert message.status == "queued"  # stale
        message.status = "sent"
        message.batch = "june"
        session.commit()
        assert (message.status, message.batch) == ("delivered", "june")


@pytest.mark.parametrize("model", [Message, TextMessage])
def test_bulk_update_returns_what_was_stored(engine, model):
    with orm.Session(engine) as session:
        session.execute(sa.insert(model), [{"sid": "SM1", "status": "delivered"}, {"sid": "SM2", "status": "queued"}])
        statement = sa.update(model).values(status="sent").returning(model.sid, model.status)
        assert sorted(map(tuple, session.execute(statement))) == [("SM1", "delivered"), ("SM2", "sent")]


def test_upsert(engine):
    with orm.Session(engine) as session:
        for status, stored in ("delivered", "delivered"), ("sent", "delivered"), ("read", "read"):
            insert = postgresql.insert(Message).values(sid="SM1", status=status)
            upsert = insert.on_conflict_do_update(index_elements=["sid"], set_={"status": insert.excluded.status})
            assert session.scalars(upsert.returning(Message.status)).one() == stored


def test_comparing(engine):
    with orm.Session(engine) as session:
        session.add_all([Message(sid="SM1", status=DeliveryStatus.SENT), Message(sid="SM2", status="delivered")])
        session.commit()

        def sids(model, condition):
            return session.scalars(sa.select(model.sid).where(condition).order_by(model.sid)).all()

        assert sids(Message, Message.status == "sent") == ["SM1"]
        assert sids(Message, Message.status >= DeliveryStatus.DELIVERED) == ["SM2"]
        assert sids(Message, Message.status.in_(["sent", "delivered"])) == ["SM1", "SM2"]
        assert sids(TextMessage, TextMessage.status == sa.literal("sent", STATUS)) == ["SM1"]
        # SQLAlchemy casts the parameter of a String to VARCHAR, and an enum has no operators with that.
        with pytest.raises(sa.exc.ProgrammingError, match="delivery_status = character varying"):
            sids(TextMessage, TextMessage.status == "sent")


def test_the_labels_are_those_of_the_type(engine):
    with engine.connect() as conn:
        labels = conn.scalar(sa.text("SELECT enum_range(NULL::msgstatus.delivery_status)::text[]"))
    assert labels == [status.value for status in DeliveryStatus]


def test_tables_made_by_the_orm(engine):
    class Own(orm.DeclarativeBase):
        pass

    class Sms(Own):
        __tablename__ = "sms"
        sid: orm.Mapped[str] = orm.mapped_column(primary_key=True)
        status: orm.Mapped[DeliveryStatus] = orm.mapped_column(STATUS, default=DeliveryStatus.QUEUED)

    class SmsEvent(Own):
        __tablename__ = "sms_event"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        sid: orm.Mapped[str] = orm.mapped_column(index=True)
        status: orm.Mapped[str] = orm.mapped_column(sa.String(20))

    Own.metadata.create_all(engine)
    try:
        with orm.Session(engine) as session:
            session.execute(sa.text("SELECT msgstatus.attach('sms', 'sms_event')"))
            session.add_all([SmsEvent(sid="SM1", status=word) for word in ("delivered", "sent")] + [Sms(sid="SM1")])
            session.commit()
            assert session.get_one(Sms, "SM1").status is DeliveryStatus.DELIVERED
    finally:
        Own.metadata.drop_all(engine)
