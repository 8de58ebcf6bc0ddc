-- Why somebody wanted a job to end; null: nobody did.
ALTER TABLE jobs ADD COLUMN cancelled TEXT;
