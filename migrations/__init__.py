"""The schema's history, as Alembic revisions. Shipped inside the wheel, so ``db upgrade`` needs no checkout."""
