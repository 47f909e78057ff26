"""The metadata that every table joins, and what columns of one kind have in common.

Times of the administration are Unix seconds; times of the ledger are Unix microseconds of the database's clock
(`*_at_us`). Amounts are 64-bit integers: calls, tokens, nano-USD. Nothing here is a float.
"""

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def text(name: str, *, null: bool = False) -> Column[str]:
    """A text column, required unless said otherwise."""
    return Column(name, Text, nullable=null)


def integer(name: str, *, null: bool = False, default: int | None = None) -> Column[int]:
    """A 64-bit integer column; `default` is the server's."""
    return Column(
        name, BigInteger, nullable=null, server_default=None if default is None else str(default), autoincrement=False
    )
